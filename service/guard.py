"""Posting to addresses that somebody else chose: over TLS, and never to a machine of ours.

A name is looked up once for each connection, every address it has is judged, and the connection goes to one of those very
addresses; certificate and Host stay those of the name. So a name that changes its address between check and use gains
nothing. Redirects are not followed, and no proxy of the environment is asked. If this were only checked when a webhook is
added, whoever holds the name could turn it to our own network later.
"""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import re
import socket
from collections.abc import Iterable, Sequence
from email.utils import parsedate_to_datetime
from functools import cached_property
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import httpcore
import httpx

ANSWER_SECONDS: Final = 10.0
"""How long a receiver may take for all: its name, the connection and the answer."""
_CONNECT_SECONDS: Final = 3.0
_MOST_ADDRESSES: Final = 3
_MOST_ANSWER_BYTES: Final = 65_536
_MOST_URL: Final = 2_000
_SHOWN = re.compile(r"[\x21-\x7e]+")

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address

_PRIVATE = [
    ipaddress.ip_network(one)
    for one in ("127.0.0.0/8", "10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "100.64.0.0/10", "::1/128", "fc00::/7")
]  # fmt: skip
#: Where clouds answer their own machines, beside the link-local addresses.
_METADATA = [
    ipaddress.ip_network(one)
    for one in ("169.254.0.0/16", "100.100.100.200/32", "168.63.129.16/32", "192.0.0.0/24", "fd00:ec2::/32")
]
#: Ways of writing an IPv4 address as one of IPv6: by RFC 6052, the last four bytes.
_NAT64 = ipaddress.ip_network("64:ff9b::/96")
#: All that is given out of IPv6 so far to be reached by everybody.
_GLOBAL_V6 = ipaddress.ip_network("2000::/3")


class Forbidden(Exception):
    """What must not be posted to. The message says why, and never holds the URL's query."""


def judge_url(url: str, *, private: bool) -> None:
    """Raise Forbidden unless the URL is one to post to; `private`: http is one too. Looks nothing up."""
    if len(url) > _MOST_URL or not _SHOWN.fullmatch(url):
        raise Forbidden("a URL is ASCII without spaces, 2,000 characters at most; write a name as xn--…")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise Forbidden("this is no URL") from None
    if parts.scheme != "https" and not (private and parts.scheme == "http"):
        raise Forbidden("only https is posted to; MANDATE_WEBHOOK_PRIVATE=1 allows http in a closed network")
    if not host or port == 0:
        raise Forbidden("the URL names no host")
    if parts.username is not None or parts.password is not None or parts.fragment:
        raise Forbidden(
            "a URL with a user, a password or a fragment is not posted to: posts are signed instead"
        )


def judge_address(text: str, *, private: bool) -> None:
    """Raise Forbidden for an address of ours: loopback, private, link-local, multicast, reserved, or a cloud's metadata.

    `private` lets loopback and private addresses pass, and nothing else.
    """
    address = _innermost(ipaddress.ip_address(text.split("%", 1)[0]))
    if _among(address, _METADATA) or address.is_link_local:
        raise Forbidden("it is a link-local address, or one where clouds answer their own machines")
    if _among(address, _PRIVATE):
        if private:
            return
        raise Forbidden("it is a loopback or private address; MANDATE_WEBHOOK_PRIVATE=1 allows those")
    reachable = address.is_global and not (address.is_multicast or address.is_reserved)
    if not reachable or (address.version == 6 and address not in _GLOBAL_V6):
        raise Forbidden("it is a multicast or reserved address")


def _innermost(address: _Address) -> _Address:
    """The address that is really meant where one of IPv6 carries one of IPv4."""
    if isinstance(address, ipaddress.IPv4Address):
        return address
    if address in _NAT64:
        return ipaddress.IPv4Address(address.packed[12:])
    return address.ipv4_mapped or address.sixtofour or (address.teredo or [None, None])[1] or address


def _among(address: _Address, networks: Iterable[Any]) -> bool:
    return any(address in one for one in networks)


async def look_up(host: str, port: int) -> list[str]:
    """The addresses of a host, as numbers; empty where there are none."""
    try:
        found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return []
    return list(dict.fromkeys(str(one[4][0]) for one in found))


async def addresses(host: str, port: int, *, private: bool) -> list[str]:
    """Every address of a host. Raises Forbidden where one of them is, so that no name mixes theirs and ours."""
    found = await look_up(host, port)
    for one in found:
        judge_address(one, private=private)
    return found


class _Guarded(httpcore.AsyncNetworkBackend):
    """Connects to judged addresses only."""

    def __init__(self, *, private: bool) -> None:
        self._private = private
        self._sockets: Any = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  httpcore's own signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first of its addresses that answers. Raises Forbidden, httpcore.ConnectError."""
        failed: Exception = httpcore.ConnectError("the name has no address")
        for one in (await addresses(host, port, private=self._private))[:_MOST_ADDRESSES]:
            try:
                return await self._sockets.connect_tcp(one, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                failed = error
        raise failed

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)


class Answered(NamedTuple):
    """The status of an answer, and for how many seconds it asks to be left alone."""

    status: int
    wait: float = 0.0


def wait_of(headers: Iterable[tuple[bytes, bytes]]) -> float:
    """The seconds of Retry-After (RFC 9110, 10.2.3: a number or a date); 0 where there is none, or none that says anything."""
    text = next((value for name, value in headers if name.lower() == b"retry-after"), b"").strip()
    if re.fullmatch(rb"[0-9]{1,300}", text):
        return float(text)
    try:
        until = parsedate_to_datetime(text.decode("ascii"))
        # The oldest of its three forms names no zone; all are of GMT.
        until = until if until.tzinfo else until.replace(tzinfo=dt.UTC)
        return max(0.0, (until - dt.datetime.now(dt.UTC)).total_seconds())
    except (ValueError, TypeError, OverflowError):
        return 0.0


class Poster:
    """Posts bodies and looks at the status; connections are kept for a while."""

    def __init__(self, *, private: bool) -> None:
        self._private = private

    @cached_property
    def _pool(self) -> httpcore.AsyncConnectionPool:
        """Made when it is first needed: reading the authorities takes longer than all else at a start."""
        return httpcore.AsyncConnectionPool(
            # Those of certifi, or of SSL_CERT_FILE: by which witnesses are judged, too.
            ssl_context=httpx.create_ssl_context(),
            network_backend=_Guarded(private=self._private),
            max_connections=64,
            keepalive_expiry=15.0,
        )

    async def judge(self, url: str) -> None:
        """Look the URL's host up, and raise Forbidden where it may not be posted to or has no address."""
        judge_url(url, private=self._private)
        parts = urlsplit(url)
        port = parts.port or {"https": 443, "http": 80}[parts.scheme]
        if not await addresses(parts.hostname or "", port, private=self._private):
            raise Forbidden("its host has no address")

    async def post(self, url: str, headers: Sequence[tuple[str, str]], body: bytes) -> Answered:
        """Post, and look at the answer. Raises Forbidden, TimeoutError, or what httpcore raises for a lost connection."""
        judge_url(url, private=self._private)
        limits = {"connect": _CONNECT_SECONDS, "pool": ANSWER_SECONDS}
        async with asyncio.timeout(ANSWER_SECONDS):
            async with self._pool.stream(
                "POST", url, headers=list(headers), content=body, extensions={"timeout": limits}
            ) as answer:
                # Read to its end, so that the connection can be used again; one that never ends is closed.
                length = 0
                async for part in answer.aiter_stream():
                    length += len(part)
                    if length > _MOST_ANSWER_BYTES:
                        break
            return Answered(answer.status, wait_of(answer.headers))

    async def close(self) -> None:
        """Close all connections."""
        if "_pool" in self.__dict__:
            await self._pool.aclose()
