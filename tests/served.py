"""The command run as an operator would: once, or as a service that serves."""

import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]


def plain(**env: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("MANDATE_")} | env


def mandate(*args: str, **env: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "service", *args],
        cwd=REPOSITORY, env=plain(**env), capture_output=True, text=True, timeout=90, check=False,
    )  # fmt: skip


class Served:
    """A service started by the command, what it printed, and the keys in it."""

    def __init__(self, folder: Path, **env: str) -> None:
        started = time.monotonic()
        # Told if it does not come to serve: a start that fails once in a thousand must say why.
        self._said = tempfile.TemporaryFile("w+")  # noqa: SIM115 - for as long as it serves
        self.process = subprocess.Popen(
            [sys.executable, "-m", "service", "serve", "--port", "0"],
            cwd=REPOSITORY, env=plain(MANDATE_DATA=str(folder), **env), stdout=subprocess.PIPE,
            stderr=self._said, text=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.lines: list[str] = []
        for line in self.process.stdout:
            self.lines.append(line)
            if found := re.findall(r"http://\S+", line):
                self.seconds, self.url = time.monotonic() - started, found[0]
                break
        else:
            code = self.process.wait()
            self._said.seek(0)
            raise AssertionError(
                f"serve ended with code {code} before it served: {''.join(self.lines)}{self._said.read()}"
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        self.lines.extend(self.process.stdout)

    def keys(self) -> dict[str, str]:
        """Wait for the table of fresh keys."""
        for _ in range(100):
            found = dict(re.findall(r"^(\S+) .*\b(mk_\S+)", "".join(self.lines), re.MULTILINE))
            if "They serve on the next start too" in "".join(self.lines):
                return found
            time.sleep(0.05)
        return {}

    def stop(self) -> str:
        """Stop it; return all it printed."""
        self.process.terminate()
        assert self.process.wait(15) == 0
        self._reader.join(5)
        return "".join(self.lines)
