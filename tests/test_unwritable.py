"""What is printed where nothing can be written: it is not lost where it cannot be had again, and it is said in one line."""

import json
import re
import stat
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.conftest import Database
from tests.served import REPOSITORY, mandate, plain
from tests.test_commands import STAFF

FULL, CLOSED, UNREAD = ">/dev/full", ">&-", "| true"


def mandate_to(where: str, *args: str, **env: str) -> "subprocess.CompletedProcess[str]":
    """Run the command with its standard output led elsewhere by the shell."""
    return subprocess.run(
        ["bash", "-o", "pipefail", "-c", f'"$@" {where}', "bash", sys.executable, "-m", "service", *args],
        cwd=REPOSITORY, env=plain(**env), capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip


@pytest.mark.anyio
@pytest.mark.parametrize("where", [FULL, CLOSED, UNREAD])
@pytest.mark.parametrize("output", ["json", "table"])
async def test_first_keys_that_cannot_be_printed_are_kept(
    where: str, output: str, database: Database, tmp_path: Path
) -> None:
    """The house is founded all the same, so its keys go to a new file for its owner alone, which one line names."""
    (tmp_path / "first-keys").write_text("of another house")
    env = {"MANDATE_DSN": database.service_dsn, "MANDATE_DATA": str(tmp_path)}
    done = mandate_to(where, "found", *STAFF, "--output", output, **env)
    file = tmp_path / "first-keys-2"
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert str(file) in done.stderr
    assert "mk_" not in done.stderr
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    kept = file.read_text()
    assert len(re.findall(r"mk_[0-9a-f]{8}_", kept)) == 3
    assert output == "table" or [one["key"] for one in json.loads(kept)] == ["ho", "wu", "li"]
    assert (tmp_path / "first-keys").read_text() == "of another house"


@pytest.mark.parametrize("where", [FULL, CLOSED])
def test_a_first_start_that_cannot_print_serves_and_keeps_its_keys(where: str, tmp_path: Path) -> None:
    """Where `serve` has nowhere to print, its log names the file of the keys and the address, and the keys serve."""
    said = tmp_path / "said"
    with said.open("w") as log:
        process = subprocess.Popen(
            ["bash", "-c", f'exec "$@" {where}', "bash", sys.executable, "-m", "service", "serve", "--port", "0"],
            cwd=REPOSITORY, env=plain(MANDATE_DATA=str(tmp_path / "data")), stderr=log,
        )  # fmt: skip
    for _ in range(600):
        if "serve.begun" in said.read_text():
            break
        assert process.poll() is None, said.read_text()
        time.sleep(0.1)
    lines = [json.loads(line) for line in said.read_text().splitlines()]
    file = tmp_path / "data" / "first-keys"
    assert [str(file) in one["why"] for one in lines if one["event"] == "keys.unprinted"] == [True]
    [address] = [one["url"] for one in lines if one["event"] == "serve.begun"]
    [token] = re.findall(r"^auditor .*\b(mk_\S+)", file.read_text(), re.MULTILINE)
    asked = httpx.get(f"{address}/v1/editions/current", headers={"authorization": f"Bearer {token}"})
    assert asked.status_code == 200
    process.terminate()
    assert process.wait(15) == 0
    assert "Traceback" not in said.read_text()
    assert "mk_" not in said.read_text()


@pytest.mark.parametrize("where", [FULL, CLOSED])
@pytest.mark.parametrize(
    ("args", "code"),
    [
        (("--help",), 2),
        (("policy", "digest"), 2),
        (("openapi", "/proc/none/x"), 2),
        (("receipt", "--help"), 3),
        (("replay", "--help"), 3),
    ],
)
def test_what_cannot_be_written_is_one_line(where: str, args: tuple[str, ...], code: int) -> None:
    """No traceback, and for a command that judges the code which says that nothing was judged."""
    done = mandate_to(where, *args)
    assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stderr
    assert done.stderr.startswith("mandate: /proc/none" if "openapi" in args else "mandate: cannot write")


def test_a_list_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    """Whatever the list looks like, and whether its writer waits for the end to write or not."""
    assert mandate("found", *STAFF, MANDATE_DATA=str(tmp_path)).returncode == 0
    for where, output in ((FULL, "csv"), (CLOSED, "json"), (FULL, "table")):
        done = mandate_to(where, "webhooks", "list", "--output", output, MANDATE_DATA=str(tmp_path))
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert done.stderr.startswith("mandate: cannot write")
