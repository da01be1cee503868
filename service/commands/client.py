"""How commands ask a running service: over HTTP, with one key, in one-line errors."""

from __future__ import annotations

import http.client
import json
import os
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec

from service.commands import CommandError
from service.founding import new_token

_SECONDS = 30
_PATIENT_SECONDS = 900
"""How long a long answer may keep silent: all of a large trail is gathered before its first byte is sent."""


class Api:
    """A service at an address, asked with one key."""

    def __init__(self, url: str, key: str) -> None:
        """Raises CommandError where the address is none."""
        if urlsplit(url).scheme not in {"http", "https"}:
            raise CommandError(f"{url} is no http address; say --url http://host:port")
        self._url = url.rstrip("/")
        self._key = key

    def ask(self, method: str, path: str, body: Any = None, *, patient: bool = False) -> Any:
        """Ask, and return what was answered; `patient` where all subjects are counted. Raises CommandError, with a refusal's code."""
        with self._sent(method, path, body, _PATIENT_SECONDS if patient else _SECONDS) as answer:
            try:
                return msgspec.json.decode(answer.read())
            except (OSError, http.client.HTTPException, ValueError) as error:
                raise self._silent(error) from None

    def fetch(self, path: str, most: int) -> bytes:
        """The first bytes of an answer, at most so many, as they were sent. Raises CommandError."""
        with self._sent("GET", path, None, _SECONDS) as answer:
            try:
                return answer.read(most)
            except (OSError, http.client.HTTPException) as error:
                raise self._silent(error) from None

    def stream(self, method: str, path: str, body: Any = None) -> http.client.HTTPResponse:
        """Ask for a long answer, to be read piece by piece and closed. Raises CommandError."""
        return self._sent(method, path, body, _PATIENT_SECONDS)

    def _sent(self, method: str, path: str, body: Any, seconds: float) -> http.client.HTTPResponse:
        headers = {"authorization": f"Bearer {self._key}", "accept": "*/*"}
        data = None
        if method != "GET":
            headers["idempotency-key"] = new_token()[0]
            headers["content-type"] = "application/json"
            data = json.dumps(body or {}).encode()
        request = urllib.request.Request(self._url + path, data, headers, method=method)  # noqa: S310  scheme is checked
        try:
            return urllib.request.urlopen(request, timeout=seconds)  # noqa: S310  scheme is checked
        except urllib.error.HTTPError as error:
            raise CommandError(_said(error)) from None
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise self._silent(error) from None

    def _silent(self, error: Exception) -> CommandError:
        reason = getattr(error, "reason", error)
        return CommandError(f"{self._url} does not answer: {reason}; is --url right?")

    def pages(
        self,
        path: str,
        query: Mapping[str, Any] | None = None,
        *,
        key: str = "items",
        most: int | None = None,
    ) -> list[dict[str, Any]]:
        """Every item of a list, or the first `most`, page by page; answers hold them under `key`. What of the query is None is
        not asked for.
        """
        asked = {name: value for name, value in (query or {}).items() if value is not None}
        items: list[dict[str, Any]] = []
        while True:
            page = self.ask("GET", f"{path}?{urlencode({**asked, 'limit': 200})}")
            items += page[key]
            if not page["next"] or (most is not None and len(items) >= most):
                return items[:most]
            asked["cursor"] = page["next"]


def _said(error: urllib.error.HTTPError) -> str:
    try:
        problem = msgspec.json.decode(error.read())
        at = f" at {problem['pointer']}" if problem.get("pointer") else ""
        more = "".join(f"; {name} {value}" for name, value in problem.get("data", {}).items())
        return f"refused: {problem['code']}{at}: {problem['title']}{more}"
    except (msgspec.DecodeError, KeyError, TypeError, OSError):
        return f"the service answered {error.code} and no problem document; is --url right?"


def opened(where: tuple[str, Path | None]) -> Api:
    """The service at an address, asked with the key of a file or of MANDATE_KEY. Raises CommandError."""
    url, key_file = where
    try:
        key = os.environ.get("MANDATE_KEY", "") if key_file is None else key_file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"cannot read {key_file}: {error}") from None
    key = key.strip()
    if not key or not key.isascii() or not key.isprintable():
        raise CommandError("show your own key: --key-file FILE, or the variable MANDATE_KEY")
    return Api(url, key)
