"""The answers that the description shows: how they are heard and cut, and that the service still gives them."""

import json
import re
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


@pytest.fixture(scope="module")
def all_heard() -> list[Heard]:
    """Every answer of `again`, whole."""
    return []


@pytest.fixture(scope="module")
def again(all_heard: list[Heard]) -> Iterator[dict[str, Any]]:
    """What the service answers, asked everything again; its data is in a folder whose name is short enough for a socket in it."""
    hears = Hearing.__call__

    def keeps(hearing: Hearing, one: Heard) -> None:
        all_heard.append(one)
        hears(hearing, one)

    folder = Path(tempfile.mkdtemp(prefix="d-"))
    described = document(create_app(Settings(dsn="postgresql://nobody@localhost/none")))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("tempfile.tempdir", str(folder))
        patch.setattr(Hearing, "__call__", keeps)
        file = folder / "answers.json"
        assert write(described["paths"], file), "something was not as expected: run make examples"
        yield json.loads(file.read_bytes())
    shutil.rmtree(folder)


def members(value: Any) -> set[str]:
    return set(value) if isinstance(value, dict) else set()


@pytest.mark.slow
def test_the_service_still_answers_so(again: dict[str, Any]) -> None:
    """Asked everything again, it answers each operation with the same statuses and the same members as are kept.

    But for 503: whether the log is a turn behind when it is asked is a matter of moments.
    """
    now, kept = (
        {
            (name, status): members(one["answer"])
            for name, answers in answered.items()
            for status, one in answers.items()
            if status != "503"
        }
        for answered in (again, json.loads(ANSWERS.read_bytes()))
    )
    assert now == kept, "run: make examples"


INSTANT = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d\S*")
WRITTEN = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


def instants(value: Any, path: str) -> Iterator[tuple[str, str]]:
    """Every text that is an instant, with its path; but for bodies of records, which are told as they were hashed."""
    if isinstance(value, dict):
        for name, one in value.items():
            if name != "record" or not isinstance(one, dict):
                yield from instants(one, f"{path}/{name}")
    elif isinstance(value, list):
        for one in value:
            yield from instants(one, path)
    elif isinstance(value, str) and INSTANT.fullmatch(value):
        yield path, value


@pytest.mark.slow
@pytest.mark.usefixtures("again")
def test_every_instant_in_an_answer_is_written_alike(all_heard: list[Heard]) -> None:
    """Whatever is asked, instants come in UTC with three decimals and a Z, whether a table, a stored act or an answer's own clock gave them.

    But for the description, whose examples are kept.
    """
    found = [
        pair
        for one in all_heard
        if one.media in {JSON, "application/problem+json"} and one.path != "/openapi.json"
        for pair in instants(json.loads(one.raw), f"{one.method} {one.path}")
    ]
    members = {path.rpartition("/")[2] for path, _ in found}
    assert members >= {
        "accepted_at",
        "at",
        "created_at",
        "effective_at",
        "from",
        "next_recheck_at",
        "until",
        "verified_at",
    }
    assert [pair for pair in found if not WRITTEN.fullmatch(pair[1])] == []
