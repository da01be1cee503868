"""The answers that the description shows: how they are heard and cut, and that the service still gives them."""

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from service.api.documentation import document
from service.api.examples import ANSWERS
from service.app import create_app
from service.demo.client import Heard
from service.demo.examples import write
from service.demo.examples.hearing import ITEMS, Hearing
from service.settings import Settings

PATHS = {
    "/v1/groups/{group_id}": {"get": {"operationId": "group.get"}},
    "/v1/groups/search": {"get": {"operationId": "group.search"}},
    "/tile/{level}/{index}": {"get": {"operationId": "log.tile"}},
    "/v1/trust": {"get": {"operationId": "trust.read"}},
}
JSON = "application/json"


def heard(*answers: tuple[str, int, str, bytes]) -> dict[str, Any]:
    hearing = Hearing(PATHS)
    for path, status, media, raw in answers:
        hearing(Heard("GET", path, status, media, raw))
    return json.loads(hearing.answers)


def test_the_answer_that_says_most_is_kept_and_the_first_of_equals() -> None:
    """Of each operation and status one answer is kept, with what was asked; empty members say nothing."""
    kept = heard(
        ("/v1/groups/a?at=1", 200, JSON, b'{"name": "", "items": []}'),
        ("/v1/groups/b", 200, JSON, b'{"name": "b", "items": [1]}'),
        ("/v1/groups/c", 200, JSON, b'{"name": "c", "items": [2]}'),
        ("/v1/groups/d", 404, "application/problem+json", b'{"code": "unknown"}'),
        ("/v1/groups/search", 200, JSON, b"{}"),
        ("/nowhere", 200, JSON, b"{}"),
    )
    assert kept["group.get"]["200"] == {"asked": "GET /v1/groups/b", "answer": {"name": "b", "items": [1]}}
    assert kept["group.get"]["404"]["answer"] == {"code": "unknown"}
    assert kept.keys() == {"group.get", "group.search"}


def test_answers_are_cut_and_secrets_are_not_kept() -> None:
    """Lists, lines and texts are as long as shows their shape; bytes come in base64; of tag keys little is left."""
    body = {"items": [1, 2, 3], "tag_keys": {"group": "0123456789abcdef"}, "note": "x" * 1000 + "\nshort"}
    kept = heard(
        ("/v1/trust", 200, JSON, json.dumps(body).encode()),
        ("/tile/0/x001/000.p/1", 200, "application/octet-stream", b"\xff\x00"),
        ("/v1/groups/a", 200, "text/plain", b"line\n" * 100),
    )
    cut = kept["trust.read"]["200"]["answer"]
    assert len(cut["items"]) == ITEMS
    assert cut["tag_keys"] == {"group": "0123…"}
    assert cut["note"].endswith("x…\nshort")
    assert len(cut["note"]) < 200
    assert kept["log.tile"]["200"]["answer"] == "/wA="
    assert kept["group.get"]["200"]["answer"].count("line\n") == 12


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the data of the play goes: a folder whose name is short enough for a socket in it."""
    folder = Path(tempfile.mkdtemp(prefix="d-"))
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    yield folder
    shutil.rmtree(folder)


def members(value: Any) -> set[str]:
    return set(value) if isinstance(value, dict) else set()


@pytest.mark.slow
def test_the_service_still_answers_so(temporary: Path) -> None:
    """Asked everything again, it answers each operation with the same statuses and the same members as are kept.

    But for 503: whether the log is a turn behind when it is asked is a matter of moments.
    """
    file = temporary / "answers.json"
    described = document(create_app(Settings(dsn="postgresql://nobody@localhost/none")))
    assert write(described["paths"], file), "something was not as expected: run make examples"
    again, kept = (
        {
            (name, status): members(one["answer"])
            for name, answers in json.loads(path.read_bytes()).items()
            for status, one in answers.items()
            if status != "503"
        }
        for path in (file, ANSWERS)
    )
    assert again == kept, "run: make examples"
