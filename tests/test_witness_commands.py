"""Witness, keys and carrying as commands: a served house, a witness in a process of its own, and one without a network."""

import json
import os
import re
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from tests.test_commands import REPOSITORY, Served, mandate, plain

CARRIED = "w.example/carried"


def ok(*args: str, **env: str) -> str:
    done = mandate(*args, **env)
    assert done.returncode == 0, done.stderr
    return done.stdout


class Witnessing:
    """A witness started by the command on its folder."""

    def __init__(self, folder: Path, log_key: str, port: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "service", "witness", "serve", "--folder", str(folder), "--log", log_key,
             "--port", port],
            cwd=REPOSITORY, env=plain(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.told = ""
        for line in self.process.stdout:
            self.told += line
            if "MANDATE_WITNESSES" in line:
                break
        self.url = re.findall(r"http://\S+", self.told)[0]

    def stop(self, signum: int = signal.SIGTERM) -> int:
        self.process.send_signal(signum)
        return self.process.wait(10)


def checkpoint(url: str) -> tuple[int, str]:
    text = httpx.get(f"{url}/checkpoint").text
    return int(text.split("\n")[1]), text


def until_signed(url: str, name: str) -> int:
    text = ""
    for _ in range(150):
        text = httpx.get(f"{url}/checkpoint").text
        if f"— {name} " in text:
            return int(text.split("\n")[1])
        time.sleep(0.1)
    raise AssertionError(text)


@pytest.fixture
def first(tmp_path: Path) -> tuple[Path, str, dict[str, str], str]:
    """A founded house; its folder, log key, tokens, and a port for a witness."""
    data = tmp_path / "data"
    served = Served(data)
    tokens = served.keys()
    trust = httpx.get(f"{served.url}/.well-known/mandate-trust.json").json()
    served.stop()
    [log_key] = trust["log_keys"]
    return data, log_key["vkey"], tokens, str(20_000 + os.getpid() % 20_000)


@pytest.mark.slow
def test_a_log_is_witnessed_carried_and_rotated_by_commands(
    first: tuple[Path, str, dict[str, str], str], tmp_path: Path
) -> None:
    """O3: a witness process signs by itself, survives kill -9; another one signs what is carried; the key rotates beside both."""
    data, log_key, tokens, port = first
    online, offline = tmp_path / "online", tmp_path / "offline"
    vkeys = [
        ok("witness", "init", "--folder", str(folder), "--name", name).strip()
        for folder, name in ((online, "w.example/online"), (offline, CARRIED))
    ]
    witness = Witnessing(online, log_key, port)
    env = {"MANDATE_WITNESSES": f"{witness.url} {vkeys[0]}\n- {vkeys[1]}", "MANDATE_DATA": str(data)}
    assert vkeys[0] in witness.told
    served = Served(data, MANDATE_WITNESSES=env["MANDATE_WITNESSES"])
    try:
        size = until_signed(served.url, "w.example/online")
        witness.stop(signal.SIGKILL)
        request, answer = str(tmp_path / "request"), str(tmp_path / "answer")

        def carry() -> str:
            ok("checkpoint", "request", "--witness", CARRIED, request, **env)
            ok("witness", "sign", "--folder", str(offline), "--log", log_key, request, answer)
            told = ok("checkpoint", "add-cosignature", "--witness", CARRIED, answer, **env)
            return httpx.get(served.url + re.findall(r"/checkpoint/\d+", told)[0]).text

        assert f"— {CARRIED} " in carry()
        ok("keys", "trail", "rotate", **env)
        size_then, text = checkpoint(served.url)
        assert size_then > size
        assert text.count(f"— {log_key.split('+')[0]} ") == 2
        assert f"— {CARRIED} " in carry()
        assert not Path(request).read_text().startswith(("old 0\n", f"old {size_then}\n")), (
            "a proof was carried"
        )
        ok("checkpoint", "request", "--old", "0", "--witness", CARRIED, request, **env)
        again = mandate("witness", "sign", "--folder", str(offline), "--log", log_key, request, answer)
        assert again.returncode == 2
        assert re.search(r"mandate checkpoint request --old \d+", again.stderr)
        assert f'"size": {size_then}' in ok("witness", "show", "--folder", str(offline), "--output", "json")

        witness = Witnessing(online, log_key, port)
        until_signed(served.url, "w.example/online")
        [old, new] = json.loads(ok("keys", "trail", "retire", "--output", "json", **env))
        assert old["to_size"] > new["from_size"]
        out = tmp_path / "trust.json"
        for asked, holds in (((), False), (("--tag-keys",), True)):
            key = {"MANDATE_KEY": tokens["auditor"]} if holds else {}
            ok("keys", "--url", served.url, "trail", "export-trust", *asked, "--out", str(out), **key)
            trust = json.loads(out.read_text())
            assert [one["to_size"] for one in trust["log_keys"]] == [old["to_size"], None]
            assert trust["witnesses"] == vkeys
            assert bool(trust["tag_keys"]) == holds
            assert stat.S_IMODE(out.stat().st_mode) == 0o600
        refused = mandate("keys", "--url", served.url, "trail", "export-trust", "--tag-keys",
                          MANDATE_KEY=tokens["moderator"])  # fmt: skip
        assert refused.returncode == 2
        assert served.process.poll() is None
        assert witness.stop() == 0
    finally:
        witness.process.kill()
        served.process.terminate()
        served.process.wait(15)


@pytest.mark.slow
def test_a_wrong_key_stops_serve_in_one_line(first: tuple[Path, str, dict[str, str], str]) -> None:
    """O3: a missing, open or other key ends `mandate serve` with code 2 and one line that names the file and the cure."""
    data = first[0]
    key = data / "keys" / "log.key"
    kept = key.read_text()
    for change, words in (
        (lambda: key.chmod(0o644), "chmod 600"),
        (key.unlink, "put back its copy"),
        (lambda: key.write_text(f"log {bytes(32).hex()}\n"), "log.key"),
    ):
        change()
        if key.exists() and words == "log.key":
            key.chmod(0o600)
        done = mandate("serve", "--port", "0", MANDATE_DATA=str(data))
        assert (done.returncode, done.stdout) == (2, "")
        [line] = [one for one in done.stderr.splitlines() if one.startswith("mandate:")]
        assert words in line
        assert "log.key" in line
        assert kept.split()[1] not in done.stderr
        key.write_text(kept)
        key.chmod(0o600)


@pytest.mark.parametrize(
    "args",
    [
        ["witness"],
        ["witness", "serve"],
        ["witness", "sign"],
        ["keys", "trail"],
        ["keys", "trail", "retire"],
        ["checkpoint", "request"],
        ["new-log"],
    ],
)
def test_help_helps(args: list[str]) -> None:
    """--help tells what it is for, without settings or a database."""
    assert "Usage" in ok(*args, "--help")


def test_what_an_operator_can_cure_is_one_line(tmp_path: Path) -> None:
    """A witness without a log to follow, a name or a sound key says so in one line, exit code 2."""
    folder = str(tmp_path / "w")
    for args, words in (
        (["serve", "--folder", folder], "--log VKEY"),
        (["serve", "--folder", folder, "--log", "nonsense"], "is no key of a log"),
        (["show", "--folder", folder], "--name"),
        (["init", "--folder", folder, "--name", "w.example/\udcff"], "not UTF-8"),
    ):
        done = mandate("witness", *args)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert words in done.stderr
