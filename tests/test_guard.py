"""Where webhooks must not lead: to addresses of our own, however they are written, looked up or turned to."""

import asyncio
import datetime as dt
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpcore
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from service import guard
from service.guard import Forbidden, Poster, judge_address, judge_url

pytestmark = pytest.mark.anyio


@pytest.mark.parametrize(
    ("address", "closed_network"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("10.1.2.3", True),
        ("172.16.0.1", True),
        ("192.168.1.1", True),
        ("100.64.0.1", True),
        ("fd12::1", True),
        ("::ffff:127.0.0.1", True),
        ("::ffff:10.0.0.1", True),
        ("64:ff9b::10.0.0.1", True),
        ("2002:0a00:0001::1", True),
        ("169.254.169.254", False),
        ("::ffff:169.254.169.254", False),
        ("64:ff9b::169.254.169.254", False),
        ("fe80::1", False),
        ("fe80::1%eth0", False),
        ("fd00:ec2::254", False),
        ("100.100.100.200", False),
        ("168.63.129.16", False),
        ("192.0.0.192", False),
        ("0.0.0.0", False),  # noqa: S104  judged, not bound
        ("0.1.2.3", False),
        ("::", False),
        ("::ffff:0.0.0.0", False),
        ("224.0.0.1", False),
        ("ff02::1", False),
        ("240.0.0.1", False),
        ("255.255.255.255", False),
        ("192.0.2.1", False),
        ("198.18.0.1", False),
        ("2001:db8::1", False),
        ("fec0::1", False),
        ("64:ff9b:1::1", False),
        ("::127.0.0.1", False),
    ],
)
def test_addresses_of_ours_are_not_posted_to(address: str, closed_network: bool) -> None:
    """Each is refused; in a closed network loopback and private ones pass, and never a link-local, metadata or reserved one."""
    with pytest.raises(Forbidden):
        judge_address(address, private=False)
    if closed_network:
        judge_address(address, private=True)
    else:
        with pytest.raises(Forbidden):
            judge_address(address, private=True)


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.215.14", "2606:4700::1111", "64:ff9b::1.1.1.1"])
def test_addresses_of_everybody_are_posted_to(address: str) -> None:
    """The judgement is of addresses, and lets those of the internet pass."""
    judge_address(address, private=False)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org/",
        "ftp://example.org/",
        "gopher://example.org/",
        "https://",
        "https:///path",
        "https://example.org:0/",
        "https://example.org:99999/",
        "https://user@example.org/",
        "https://user:word@example.org/",
        "https://example.org/#part",
        "https://exa mple.org/",
        "https://example.org/\r\nx: y",
        "https://例子.example/",
        "https://[::1/",
        "https://example.org/" + "a" * 2000,
    ],
)
def test_urls_that_are_none_to_post_to(url: str) -> None:
    """https, a host, and nothing that carries a password in front or ends elsewhere than it seems."""
    with pytest.raises(Forbidden):
        judge_url(url, private=False)


def test_http_is_for_closed_networks() -> None:
    """Only the setting lets a post go in clear, and it opens no other scheme."""
    judge_url("http://10.0.0.1/hook?token=1", private=True)
    judge_url("https://example.org/hook?token=1", private=False)
    with pytest.raises(Forbidden):
        judge_url("ftp://10.0.0.1/", private=True)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "[::1]", "localhost", "2130706433", "0x7f000001", "127.1", "0177.0.0.1", "[::ffff:127.0.0.1]", "0.0.0.0", "0", "169.254.169.254"],  # noqa: S104  judged, not bound
)  # fmt: skip
async def test_a_host_that_leads_to_us_is_refused_when_added_and_when_posted_to(host: str) -> None:
    """However it is written: as a name that resolves to us, as one number, in hexadecimal, as IPv6."""
    poster = Poster(private=False)
    try:
        with pytest.raises(Forbidden):
            await poster.judge(f"https://{host}/hook")
        # A spelling that no resolver here takes has no address: it is not posted to either.
        with pytest.raises((Forbidden, httpcore.ConnectError)):
            await poster.post(f"https://{host}/hook", [], b"[]")
    finally:
        await poster.close()


async def test_a_name_is_looked_up_once_and_its_every_address_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that shows a public address first and ours at the next look gains nothing; nor does one that mixes both."""
    asked: list[str] = []
    answers = [["93.184.215.14", "10.0.0.1"], ["127.0.0.1"]]

    async def turning(host: str, port: int) -> list[str]:
        asked.append(host)
        return answers[len(asked) - 1]

    monkeypatch.setattr(guard, "look_up", turning)
    poster = Poster(private=False)
    for _ in answers:
        with pytest.raises(Forbidden):
            await poster.post("https://turning.example/", [], b"[]")
    assert asked == ["turning.example"] * 2
    await poster.close()


@asynccontextmanager
async def tls(folder: Path, name: str) -> AsyncIterator[tuple[int, list[bytes], Path]]:
    """A server on loopback with a certificate of this name; yields its port, what it read, and the authority's file."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    authority, private = folder / "ca.pem", folder / "key.pem"
    authority.write_bytes(certificate.public_bytes(Encoding.PEM))
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(authority, private)
    read: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        read.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1], read, authority


async def test_the_certificate_is_of_the_name_though_the_connection_is_to_an_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Host and certificate are those of the URL's name; another name's certificate, or an unknown authority, ends the post."""
    async with tls(tmp_path, "localhost") as (port, read, authority):
        stranger = Poster(private=True)
        with pytest.raises(httpcore.ConnectError):
            await stranger.post(f"https://localhost:{port}/hook", [], b"[]")
        monkeypatch.setenv("SSL_CERT_FILE", str(authority))
        poster = Poster(private=True)
        assert await poster.post(f"https://localhost:{port}/hook", [], b"[]") == (200, 0)
        assert f"Host: localhost:{port}\r\n".encode().lower() in read[0].lower()
        with pytest.raises(httpcore.ConnectError):
            await poster.post(f"https://127.0.0.1:{port}/hook", [], b"[]")
        assert len(read) == 1
        await poster.close()
        await stranger.close()


async def test_an_answer_without_end_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The status counts once it is there, however long the rest; one that never comes is waited for so long and no longer."""

    async def pour(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        try:
            if b"/mute" in head:
                await reader.read()
            writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
            while True:
                writer.write(b"x" * 10_000)
                await writer.drain()
        except (ConnectionError, asyncio.CancelledError):
            writer.close()

    monkeypatch.setattr(guard, "ANSWER_SECONDS", 1.0)
    poster = Poster(private=True)
    server = await asyncio.start_server(pour, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with asyncio.timeout(5):
        assert await poster.post(f"http://127.0.0.1:{port}/pour", [], b"[]") == (200, 0)
        with pytest.raises(TimeoutError):
            await poster.post(f"http://127.0.0.1:{port}/mute", [], b"[]")
    await poster.close()
    server.close()
