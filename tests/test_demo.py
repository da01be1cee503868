"""The demo: a day of the story against a house of its own, told and checked."""

import io
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from rich.console import Console

from service.db import Embedded
from service.demo import play
from service.demo.accounts import patrol_accounts, people
from service.demo.evidence import BEIJING
from service.demo.groups import founding_of_g, mute_of_dan
from service.demo.step import Scene
from service.demo.story import story
from tests import rebuilding
from tests.kit import House
from tests.rebuilding import rebuild
from tests.rebuilding.schema import KEYS
from tests.rebuilding.told import Memory, remembered

REPOSITORY = Path(__file__).resolve().parents[1]


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the demo's data goes: a folder of the test's own, whose name is short enough for a socket in it."""
    folder = Path(tempfile.mkdtemp(prefix="d-"))
    monkeypatch.setenv("TMPDIR", str(folder))
    monkeypatch.setattr("tempfile.tempdir", None)
    yield folder
    shutil.rmtree(folder)


def played(scenes: Sequence[Scene], *, keep: bool = False) -> tuple[int, str]:
    said = Console(file=io.StringIO(), width=140)
    code = play.run(scenes=scenes, console=said, keep=keep)
    assert isinstance(said.file, io.StringIO)
    return code, said.file.getvalue()


@pytest.fixture(scope="module")
def told_and_kept() -> Iterator[tuple[subprocess.CompletedProcess[str], Path]]:
    """The whole story, played once, and the folder in which its data was left."""
    folder = Path(tempfile.mkdtemp(prefix="d-"))
    done = subprocess.run(
        [sys.executable, "-m", "service", "demo", "--keep"],
        cwd=REPOSITORY,
        env=os.environ | {"TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    yield done, folder
    shutil.rmtree(folder)


@pytest.mark.slow
def test_the_whole_story_is_as_expected(
    told_and_kept: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    """S001, S005, S006, S010, S012, S015, S022, S058, S081, S189, S197, A7: every expected outcome is seen."""
    done, _ = told_and_kept
    assert done.returncode == 0, done.stdout + done.stderr
    # Beside the steps the trails of the two groups are compared, record by record.
    expected = sum(len(scene.steps) for scene in story()) + 2
    assert f"\nAll {expected} expected outcomes were seen" in done.stdout
    assert "Who answered for group g at 2026-11-02T09:05:00.000Z" in done.stdout
    assert "The trail of group g" in done.stdout
    assert "Subject group:g: COMPLETE, all 3" in done.stdout
    assert "The receipt is kept: its record is log entry" in done.stdout
    assert f"Subject account:{BEIJING}: COMPLETE" in done.stdout
    assert "REJECTED E_RECORD: A record was altered" in done.stdout
    assert "not as expected" not in done.stdout
    assert done.stderr == ""


@pytest.mark.slow
@pytest.mark.anyio
async def test_the_whole_story_is_rebuilt_from_its_records(
    told_and_kept: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    """S017: replaying all records of the story from empty gives the same facts, row by row and column by column."""
    done, kept = told_and_kept
    assert done.returncode == 0, done.stdout + done.stderr
    [folder] = kept.iterdir()
    with Embedded.start(folder) as embedded:
        memory, counted = await _rebuilt(embedded, folder)
    facts, untold = rebuild(memory)
    assert untold == []
    # Nothing was left to compare by chance: the day leaves rows of all these, and each is told.
    assert {table: len(rows) for table, rows in facts.rows.items()} == counted
    told_of = {
        "person",
        "groups",
        "role",
        "mute",
        "approval",
        "staff_role",
        "api_key",
        "operator",
        "account",
        "credit_entry",
    }
    assert all(counted[table] for table in told_of)


async def _rebuilt(embedded: Embedded, folder: Path) -> tuple[Memory, dict[str, int]]:
    """Look for what the records do not tell, and find nothing; return the records and how many rows each table has."""
    async with (
        House.reopen(embedded.service_dsn, folder) as house,
        house.db.read(snapshot=True) as reader,
    ):
        keys = house.app.state["keys"]
        assert await rebuilding.faults(reader, keys) == []
        counted = {table: await reader.fetchval(f"SELECT count(*) FROM {table}") for table in KEYS}
        return await remembered(reader, keys), counted


@pytest.mark.slow
def test_what_is_not_as_expected_is_told_and_fails(temporary: Path) -> None:
    """A wrong expectation is told with what was expected and what came, and the exit code is 1."""
    scene = founding_of_g()
    first = scene.steps[0]
    shows = {**first.shows, "result.tier": 4}
    steps = [first._replace(shows=shows), *scene.steps[1:]]
    code, said = played([*people(), scene._replace(steps=steps)])
    assert code == 1
    [line] = [line for line in said.splitlines() if "result.tier" in line]
    assert line.split()[-3:] == ["result.tier", "4", "2"]
    assert "1 of 28 outcomes were not as expected" in said
    assert list(temporary.iterdir()) == []


@pytest.mark.slow
def test_a_record_that_is_not_expected_is_told(temporary: Path) -> None:
    """The trail must hold the records that were answered and no others; `keep` leaves the data, closed to others."""
    scene = founding_of_g()
    silent = [step._replace(in_trail=step.label != "R10") for step in scene.steps]
    code, said = played([*people(), scene._replace(steps=silent)], keep=True)
    assert code == 1
    assert "its records" in said
    [folder] = temporary.iterdir()
    assert str(folder) in said
    assert (folder / "tokens.json").stat().st_mode & 0o777 == 0o600


def test_a_step_that_lacks_what_an_earlier_one_owes_is_told(temporary: Path) -> None:
    """Steps that speak of what never came are differences, and the story goes on."""
    scene = mute_of_dan()
    code, said = played([scene._replace(steps=[step for step in scene.steps if "$" in step.path])])
    assert code == 1
    assert "gave 'lapse'" in said
    assert list(temporary.iterdir()) == []


def test_the_story_goes_forward_in_time() -> None:
    """No step is at an instant before the one told above it."""
    steps = [step for scene in story() for step in scene.steps]
    assert all(one.at <= other.at for one, other in pairwise(steps))


def test_all_fifty_patrol_accounts_are_asked_for() -> None:
    """A7: fifty accounts of class government, each with an operator and a territory of its own."""
    asked = [step.body for scene in patrol_accounts() for step in scene.steps if step.path == "/v1/accounts"]
    assert len(asked) == len({body["jurisdiction"] for body in asked if body}) == 50
    assert {body["class"] for body in asked if body} == {"government"}
