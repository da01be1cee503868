"""What tests of deletion share: agreeing to a proposal, holding, taking bundles and judging them."""

import base64
import json
from pathlib import Path
from typing import Any

from service.trail.verify import Verdict, verify_bundle
from tests.kit import House

HOLD = {"reason": "proceedings", "note": "court file 12"}


async def agreed(house: House, proposal: dict[str, Any], *others: str) -> dict[str, Any]:
    """Let others agree to what was proposed; return the last receipt."""
    receipt: dict[str, Any] = {}
    for one in others:
        receipt = await house.do(one, "POST", f"/v1/approvals/{proposal['record_id']}/grant", {})
    return receipt


async def hold(house: House, kind: str, name: str) -> str:
    """Set a hold; return its id."""
    asked = HOLD | {"subject_type": kind, "subject_id": name}
    return (await house.do("co", "POST", "/v1/legal-holds", asked))["result"]["hold_id"]


async def release(house: House, held: str) -> None:
    proposal = await house.do("co", "DELETE", f"/v1/legal-holds/{held}", {"reason": "proceedings_over"})
    await agreed(house, proposal, "ap")


async def export(house: House, subject: str, **asked: Any) -> bytes:
    kind, _, name = subject.partition(":")
    asked = {"subject_type": kind, "subject_id": name, "purpose": "case 17"} | asked
    answer = await house.ask("au", "POST", "/v1/trail-exports", asked)
    assert answer.status_code == 200, answer.text
    return answer.content


async def verify(house: House, folder: Path, bundle: bytes, **more: Any) -> Verdict:
    (folder / "bundle").write_bytes(bundle)
    trust = folder / "trust.json"
    trust.write_text(json.dumps(await house.do("au", "GET", "/v1/trust")))
    return verify_bundle(folder / "bundle", policy=trust, **more)


def lines(bundle: bytes, kind: str) -> list[dict[str, Any]]:
    return [line for line in map(json.loads, bundle.splitlines()) if line["kind"] == kind]


def body(line: dict[str, Any]) -> dict[str, Any]:
    return json.loads(base64.b64decode(line["record"]))
