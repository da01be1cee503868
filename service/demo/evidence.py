"""The end of the story: the authority takes evidence away, checks it without the service, and tries to change a byte."""

from __future__ import annotations

import base64
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from service.demo.authority import REGULATOR_KEY, WHY
from service.demo.client import Answer
from service.demo.step import Scene, Step, at
from service.trail import standalone

BEIJING = "patrol-110000"
CHECK = "CHECK"
"""The method of a step that asks nobody: it runs the verifier, alone, on a file that was taken before."""


def evidence() -> Scene:
    """Two trails, taken and proved; and one byte of one of them changed."""
    return Scene(
        "The authority takes evidence away and checks it without the service",
        [
            Step(
                at("10:00", 1),
                "co",
                "hands over two tag keys",
                "GET",
                "/v1/trust",
                shows={"log_keys.#": 1, "quorum": 0},
                means="for groups and accounts only",
                keeps={"tag_keys": "tag_keys"},
            ),
            Step(
                at("10:01", 1),
                REGULATOR_KEY,
                "reads whom to trust",
                "GET",
                "/.well-known/mandate-trust.json",
                shows={"tag_keys": {}},
                means="public keys, for anyone",
                keeps={"trust": ""},
            ),
            Step(
                at("10:02", 1),
                "im",
                "asks for the receipt of R16",
                "GET",
                "/v1/records/$mute/receipt",
                shows={"kind": "receipt"},
                means="a signed promise to log it",
                keeps={"receipt": ""},
            ),
            Step(
                at("10:02", 1),
                "im",
                "asks whether ben's yes is logged",
                "GET",
                "/v1/records/$acceptance/inclusion",
                shows={"kind": "inclusion"},
                means="with all before it, signed",
                waits=True,
            ),
            _takes("10:03", "group", "g", in_trail=True),
            _checks(
                "10:04",
                "g",
                {"subject": "group:g", "receipt": "receipt", "about": "g", "at_least": "acceptance"},
                shows={"outcome": "ACCEPTED", "as_answered": True},
                means="complete; promise of R16 kept",
            ),
            _takes("10:05", "account", BEIJING, in_trail=False),
            _checks(
                "10:06",
                BEIJING,
                {"subject": f"account:{BEIJING}"},
                shows={"outcome": "ACCEPTED"},
                means="complete, personal values held back",
            ),
            _checks(
                "10:07",
                "g",
                {"subject": "group:g", "altered": "mute"},
                status=2,
                shows={"outcome": "REJECTED", "fault": "E_RECORD"},
                means="one byte of R16 was changed",
            ),
        ],
        about="g",
    )


def _takes(clock: str, kind: str, name: str, *, in_trail: bool) -> Step:
    body = {"subject_type": kind, "subject_id": name, "purpose": WHY}
    return Step(
        at(clock, 1),
        REGULATOR_KEY,
        f"takes the trail of {kind} {name}",
        "POST",
        "/v1/trail-exports",
        body,
        shows={"kind": "bundle"},
        means="a file; the taking is on record",
        takes=name,
        in_trail=in_trail,
    )


def _checks(clock: str, name: str, how: Mapping[str, Any], *, status: int = 0, **more: Any) -> Step:
    does = "changes one byte and checks it again" if "altered" in how else f"checks the file of {name}"
    return Step(at(clock, 1), REGULATOR_KEY, does, CHECK, name, how, status, in_trail=False, **more)


class Desk:
    """The authority's desk: the files it took, and the verifier in one file, run as a program of its own.

    Nothing here knows the service but by the files: the verifier gets the bundle, the keys, and what was promised.
    """

    def __init__(self, folder: Path) -> None:
        """`folder` is made, and holds it all."""
        folder.mkdir()
        self._folder = folder
        self._program = folder / "verify.py"
        standalone.build(self._program)

    def lay_down(self, name: str, data: bytes) -> None:
        """Keep a file that was taken."""
        (self._folder / f"{name}.mandate").write_bytes(data)

    def check(self, step: Step, names: Mapping[str, Any], made: list[str]) -> Answer:
        """Run the verifier on the file of a step. `names`: what earlier steps kept; `made`: the records answered so far.

        `as_answered` in the answer: the file's records are the first of those, in order, up to one named at least.
        Raises KeyError where an earlier step owes something.
        """
        how = step.body or {}
        data = (self._folder / f"{step.path}.mandate").read_bytes()
        if "altered" in how:
            data = _altered(data, names[how["altered"]])
        bundle, policy = self._folder / "bundle", self._folder / "trust.json"
        bundle.write_bytes(data)
        handed = {kind: names["tag_keys"][kind] for kind in ("group", "account")}
        policy.write_text(json.dumps(names["trust"] | {"tag_keys": handed}), encoding="utf-8")
        more: list[str] = []
        if "receipt" in how:
            receipt = self._folder / "receipt"
            text = json.dumps(
                names[how["receipt"]], ensure_ascii=False, separators=(",", ":"), sort_keys=True
            )
            receipt.write_text(text, encoding="utf-8")
            more = ["--receipt", str(receipt)]
        # Isolated: no environment, no folder of ours on the path; it finds Python's own packages and `cryptography`.
        command = [sys.executable, "-I", str(self._program), str(bundle), "--policy", str(policy)]
        command += ["--subject", how["subject"], *more]
        done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603  our own program
        outcome, _, fault = done.stdout.partition("\n")[0].partition(" ")
        body: dict[str, Any] = {"outcome": outcome, "said": done.stdout or done.stderr}
        if fault:
            body["fault"] = fault.partition(":")[0]
        if "about" in how:
            found = _records(data)
            body["as_answered"] = found == made[: len(found)] and names[how["at_least"]] in found
        return Answer(done.returncode, body, None)


def _lines(bundle: bytes) -> list[dict[str, Any]]:
    """The record lines of a bundle."""
    return [line for line in map(json.loads, bundle.splitlines()) if line["kind"] == "record"]


def _records(bundle: bytes) -> list[str]:
    return [json.loads(base64.b64decode(line["record"]))["id"] for line in _lines(bundle)]


def _altered(bundle: bytes, record_id: str) -> bytes:
    """The bundle with one byte of one record changed: its outcome, by one letter."""
    for line in _lines(bundle):
        body = base64.b64decode(line["record"])
        if json.loads(body)["id"] == record_id:
            changed = body.replace(b'"out":"done"', b'"out":"gone"', 1)
            return bundle.replace(line["record"].encode(), base64.b64encode(changed), 1)
    raise KeyError(record_id)
