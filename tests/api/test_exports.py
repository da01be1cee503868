"""Evidence over HTTP: what is exported is accepted by the verifier, alone too, and no byte of it can be changed."""

import asyncio
import base64
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from service.policy import digest
from service.trail import standalone
from service.trail.merkle import leaf, root_of_inclusion
from service.trail.note import Checkpoint, Note, Promise, signed_by
from service.trail.record import SUBJECT_TYPES, record_hash
from service.trail.verify import Verdict, verify_bundle
from tests.kit import House

pytestmark = pytest.mark.anyio
OPERATOR = {"operator_id": "press", "kind": "company", "name": "A. Press", "jurisdiction": "CN-110000"}
IDENTITY = {
    "status": "verified",
    "methods": ["credit_code", "mobile"],
    "identity_ref": "b2d0c6b1-6f0e-4d1c-9a53-7c1e84f2a905",
}
ACCOUNT = {
    "account_id": "daily",
    "operator_id": "press",
    "name": "Daily",
    "class": "life",
    "jurisdiction": "CN-110000",
}
GROUP = {"subject_type": "group", "subject_id": "g", "purpose": "case 17"}


@pytest.fixture
async def group(house: House) -> House:
    """Group g in CN-110000 with four acts on record, one of them refused, logged and signed."""
    await house.has_group("g", "ann", ("ben",), ("dan", "eve"))
    for whom, note in (("dan", "second warning"), ("eve", "third warning")):
        body = {"person_id": whom, "seconds": 60, "reason": "fraud", "note": note}
        await house.do("ben", "POST", "/v1/groups/g/mutes", body)
    await house.refused(
        "refused", "dan", "POST", "/v1/groups/g/mutes", {"person_id": "eve", "seconds": 60, "reason": "fraud"}
    )
    await house.do("ben", "DELETE", "/v1/groups/g/mutes/dan", {"reason": "error_corrected"})
    await house.publish()
    return house


async def export(house: House, who: str = "au", **asked: Any) -> bytes:
    answer = await house.ask(who, "POST", "/v1/trail-exports", {**GROUP, **asked})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("application/jsonl")
    return answer.content


async def trust(house: House, folder: Path, **changed: Any) -> Path:
    policy = await house.do("au", "GET", "/v1/trust")
    path = folder / "trust.json"
    path.write_text(json.dumps(policy | changed))
    return path


async def verify(house: House, folder: Path, bundle: bytes, **more: Any) -> Verdict:
    path = folder / "bundle"
    path.write_bytes(bundle)
    return verify_bundle(path, policy=await trust(house, folder), **more)


def lines(bundle: bytes, kind: str) -> list[dict[str, Any]]:
    return [line for line in map(json.loads, bundle.splitlines()) if line["kind"] == kind]


def bodies(bundle: bytes) -> list[dict[str, Any]]:
    return [json.loads(base64.b64decode(line["record"])) for line in lines(bundle, "record")]


async def test_the_whole_trail_of_a_group_is_accepted_and_holds_every_record(
    group: House, tmp_path: Path
) -> None:
    """S197: the bundle of a group holds all its records, the refused one too, opened for staff, and is accepted."""
    bundle = await export(group)
    verdict = await verify(group, tmp_path, bundle, subject=("group", "g"))
    assert verdict.exit_code == 0, verdict.text("en")
    assert [(one["act"], one["out"]) for one in bodies(bundle)] == [
        ("group.mute", "done"),
        ("group.mute", "done"),
        ("group.mute", "refused"),
        ("group.unmute", "done"),
    ]
    assert [line["fields"].get("note", {}).get("value") for line in lines(bundle, "record")][:2] == [
        "second warning",
        "third warning",
    ]


async def test_a_changed_byte_is_refused_and_the_record_named(group: House, tmp_path: Path) -> None:
    """S197: one changed byte in a record makes the verifier reject the bundle and name that record's place in the log."""
    bundle = await export(group)
    second = lines(bundle, "record")[1]
    body = base64.b64decode(second["record"])
    altered = base64.b64encode(body.replace(b'"done"', b'"dong"'))
    verdict = await verify(group, tmp_path, bundle.replace(base64.b64encode(body), altered))
    assert verdict.exit_code == 2
    assert "E_RECORD" in verdict.text("en")
    assert str(second["index"]) in verdict.text("en").splitlines()[0]


@pytest.mark.unreconciled("a record is rewritten by the database's owner")
async def test_an_entry_changed_in_the_database_no_longer_verifies(
    group: House, tmp_path: Path, database: Any
) -> None:
    """S197: who owns the database can change a record, and the next bundle gives him away."""
    owner = await asyncpg.connect(database.owner_dsn)
    await owner.execute("ALTER TABLE record DISABLE TRIGGER USER")
    await owner.execute(
        "UPDATE record SET body = convert_to(replace(convert_from(body, 'UTF8'), '\"done\"', '\"dong\"'), 'UTF8')"
        " WHERE act = 'group.unmute'"
    )
    await owner.close()
    verdict = await verify(group, tmp_path, await export(group))
    assert verdict.exit_code == 2
    assert "E_RECORD" in verdict.text("en").splitlines()[0]


async def test_the_file_for_regulators_judges_alike(group: House, tmp_path: Path) -> None:
    """S197: the verifier in one file accepts the same bundle without this service."""
    program = tmp_path / "verify.py"
    standalone.build(program)
    (tmp_path / "bundle").write_bytes(await export(group))
    policy = await trust(group, tmp_path)
    command = [sys.executable, "-I", program, tmp_path / "bundle", "--policy", policy, "--subject", "group:g"]
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout.splitlines()[0][:8]) == (0, "ACCEPTED"), done


async def test_an_authority_gets_the_same_proof_with_personal_fields_withheld(
    group: House, tmp_path: Path
) -> None:
    """S019, S189: a regulator takes what lies in the territories of his key, and personal fields are withheld, not absent."""
    await group.refused("outside_scope", "reg", "POST", "/v1/trail-exports", GROUP)
    async with group.db.transaction() as tx:
        await tx.execute("UPDATE api_key SET jurisdictions = '[\"CN-110000\"]' WHERE key_id = 'reg'")
    bundle = await export(group, "reg")
    assert b"second warning" not in bundle
    assert lines(bundle, "record")[0]["withheld"] == {"note": None}
    assert (await verify(group, tmp_path, bundle)).exit_code == 0
    await group.refused("refused", "reg", "GET", "/v1/trust")


async def test_who_took_a_bundle_gets_the_editions_its_records_name(group: House) -> None:
    """S197, S189: an edition belongs to the taking, which is on the record; nobody else gets it through that."""
    async with group.db.transaction() as tx:
        await tx.execute("UPDATE api_key SET jurisdictions = '[\"CN-110000\"]' WHERE key_id = 'reg'")
    taken = await group.ask("reg", "POST", "/v1/trail-exports", GROUP)
    number = bodies(taken.content)[0]["policy"]
    path = f"/v1/trail-exports/{taken.headers['x-record-id']}/editions/"
    whole = await group.do("reg", "GET", path + number)
    assert digest({name: text.encode() for name, text in whole["files"].items()}) == number
    await group.refused("unknown", "reg", "GET", path + "0" * 64)
    await group.refused("unknown", "reg", "GET", path + "x")
    for who in ("au", "im", "ann"):
        await group.refused("unknown", who, "GET", path + number)
    [mute, *_] = await group.records("group.mute")
    await group.refused("unknown", "reg", "GET", f"/v1/trail-exports/{mute['id']}/editions/{number}")
    await group.refused("refused", "reg", "GET", f"/v1/editions/{number}")


async def test_taking_evidence_is_an_act_with_a_purpose(group: House, tmp_path: Path) -> None:
    """S021, S197: without a purpose nothing is handed out; each export is a record, and stands in the next bundle."""
    await group.refused("purpose_missing", "au", "POST", "/v1/trail-exports", GROUP | {"purpose": " "})
    await group.refused("refused", "mo", "POST", "/v1/trail-exports", GROUP)
    await group.refused("refused", "ann", "POST", "/v1/trail-exports", GROUP)
    await export(group, from_record=0, to_record=2)
    await group.publish()
    bundle = await export(group)
    *_, last = bodies(bundle)
    assert (last["act"], last["rule"]) == ("trail.export", "trail.export-auditor")
    assert last["p"]["asked"] == {"from_record": 0, "to_record": 2}
    assert (await verify(group, tmp_path, bundle)).exit_code == 0


async def test_that_there_is_nothing_is_proved_too(group: House, tmp_path: Path) -> None:
    """S197: a person without records, and one nobody knows, get a bundle that proves that the log holds none of theirs."""
    for person in ("ann", "nobody-knows-me"):
        bundle = await export(group, subject_type="person", subject_id=person)
        assert lines(bundle, "record") == lines(bundle, "subject") == []
        verdict = await verify(group, tmp_path, bundle, subject=("person", person))
        assert verdict.exit_code == 0, verdict.text("en")


@pytest.mark.parametrize("subject_type", SUBJECT_TYPES)
async def test_every_type_of_subject_has_a_trail(group: House, tmp_path: Path, subject_type: str) -> None:
    """S197: each of the nine types can be asked for, and its bundle is accepted, with records or as proof of none."""
    await group.do("ann", "POST", "/v1/operators", OPERATOR)
    await group.do("im", "PUT", "/v1/operators/press/identity", IDENTITY)
    await group.do("ann", "POST", "/v1/accounts", ACCOUNT)
    await export(group)
    await group.publish()
    known = {
        "person": "dan",
        "group": "g",
        "account": "daily",
        "operator": "press",
        "staff": "au",
        "jurisdiction": "CN-110000",
    }
    name = known.get(subject_type, "nobody-knows-me")
    asked = {"subject_type": subject_type, "subject_id": name}
    bundle = await export(group, **asked)
    verdict = await verify(group, tmp_path, bundle, subject=(subject_type, name))
    assert verdict.exit_code == 0, verdict.text("en")
    assert bool(bodies(bundle)) == (subject_type in known)
    await group.publish()
    bundle = await export(group, **asked)
    assert bodies(bundle)[-1]["act"] == "trail.export"
    verdict = await verify(group, tmp_path, bundle, subject=(subject_type, name))
    assert verdict.exit_code == 0, verdict.text("en")


async def test_every_range_of_a_trail_is_proved(group: House, tmp_path: Path) -> None:
    """S197: any part of a trail is accepted as just that part, and rejected by a reader who demands all."""
    for a in range(5):
        for b in range(a, 5):
            bundle = await export(group, from_record=a, to_record=b)
            verdict = await verify(group, tmp_path, bundle)
            assert verdict.exit_code == 0, (a, b, verdict.text("en"))
    path = tmp_path / "part"
    path.write_bytes(await export(group, from_record=1, to_record=3))
    strict = await trust(group, tmp_path, require_complete=True)
    assert "E_COMPLETE" in verify_bundle(path, policy=strict).text("en")
    await group.refused(
        "malformed", "au", "POST", "/v1/trail-exports", GROUP | {"from_record": 0, "to_record": 99}
    )
    await group.refused("malformed", "au", "POST", "/v1/trail-exports", GROUP | {"from_record": 0})


async def test_a_reader_who_comes_back_is_shown_that_the_log_only_grew(group: House, tmp_path: Path) -> None:
    """S197: with the size he saw last a reader gets the proof that today's log extends that one."""
    state = tmp_path / "state.json"
    assert (await verify(group, tmp_path, await export(group), state=state)).exit_code == 0
    for _ in range(3):
        size = json.loads(state.read_text())["size"]
        await export(group)
        await group.publish()
        bundle = await export(group, old_size=size)
        verdict = await verify(group, tmp_path, bundle, state=state)
        assert verdict.exit_code == 0, verdict.text("en")
        assert lines(bundle, "consistency")[0]["old_size"] == size
    await group.publish()
    verdict = await verify(group, tmp_path, await export(group), state=state)
    assert "E_NO_CONSISTENCY" in verdict.text("en")


async def test_a_receipt_holds_the_service_to_its_word(group: House, tmp_path: Path) -> None:
    """S022: whoever got an act's answer gets its receipt, always the same; a bundle with the record keeps the promise."""
    body = {"person_id": "eve", "seconds": 90, "reason": "fraud"}
    act = await group.do("ben", "POST", "/v1/groups/g/mutes", body)
    path = f"/v1/records/{act['record_id']}/receipt"
    answer = await group.ask("im", "GET", path)
    assert (await group.ask("im", "GET", path)).content == answer.content
    receipt = tmp_path / "receipt"
    receipt.write_bytes(answer.content)
    await group.publish()
    verdict = await verify(group, tmp_path, await export(group), receipt=receipt)
    assert verdict.exit_code == 0, verdict.text("en")
    await group.refused("unknown", "mo", "GET", path)
    await group.refused("unknown", "im", "GET", path.replace("-", "_"))
    taken = await group.ask("au", "POST", "/v1/trail-exports", GROUP)
    own = f"/v1/records/{taken.headers['x-record-id']}/receipt"
    assert (await group.ask("au", "GET", own)).status_code == 200
    await group.refused("unknown", "im", "GET", own)


async def test_that_a_record_is_logged_is_proved_to_whom_its_receipt_is_for(group: House) -> None:
    """S197: from the record's entry and a path of hashes anyone computes the root that the log has signed."""
    body = {"person_id": "eve", "seconds": 90, "reason": "fraud"}
    act = await group.do("ben", "POST", "/v1/groups/g/mutes", body)
    path = f"/v1/records/{act['record_id']}/inclusion"
    before = Checkpoint.parse(Note.parse((await group.client.get("/checkpoint")).text).text)
    assert (await group.refused("trail_unavailable", "im", "GET", path))["status"] == 503
    await group.refused("malformed", "im", "GET", f"{path}?size={before.size}")
    size = await group.publish()
    await export(group)
    later = await group.publish()
    for asked, told in ((f"{path}?size={size}", size), (path, later)):
        proof = await group.do("im", "GET", asked)
        signed = Checkpoint.parse(Note.parse(proof["note"]).text)
        hashes = [base64.b64decode(one) for one in proof["hashes"]]
        digest = leaf(base64.b64decode(proof["entry"]))
        assert root_of_inclusion(proof["index"], told, digest, hashes) == signed.root
        assert signed.size == told
    await group.refused("malformed", "im", "GET", f"{path}?size={size - 1}")
    await group.refused("unknown", "mo", "GET", path)


async def test_trust_is_public_but_for_the_tag_keys(group: House) -> None:
    """S197: anyone gets the public keys; the secret tag keys only auditors and compliance."""
    public = (await group.client.get("/.well-known/mandate-trust.json")).json()
    secret = await group.do("co", "GET", "/v1/trust")
    assert public["tag_keys"] == {}
    assert len(secret["tag_keys"]) == 9
    assert secret | {"tag_keys": {}} == public
    await group.refused("refused", "mo", "GET", "/v1/trust")
    await group.refused("refused", "im", "GET", "/v1/trust")
    await group.refused("key_invalid", "im", "GET", "/v1/trust", headers={"authorization": "Bearer x"})


async def test_every_answer_that_speaks_of_a_record_carries_its_receipt(group: House) -> None:
    """S022: done or refused, and the same bytes when asked again; who has no standing gets none."""
    await group.has_people("zoe")
    body = {"person_id": "dan", "seconds": 60, "reason": "spam"}
    done = await group.ask("ann", "POST", "/v1/groups/g/mutes", body, key="once")
    again = await group.ask("ann", "POST", "/v1/groups/g/mutes", body, key="once")
    assert again.content == done.content
    refused = await group.ask("dan", "POST", "/v1/groups/g/mutes", {**body, "person_id": "ann"})
    genesis = group.app.state.sequencer.genesis
    for answer in (done, refused):
        told = answer.json()
        receipt = told["receipt"]
        assert await group.do("im", "GET", f"/v1/records/{told['record_id']}/receipt") == receipt
        note = Note.parse(receipt["note"])
        assert len(signed_by(note, [genesis.receipt_key])) == 1
        promise = Promise.parse(note.text)
        assert promise.record_id == told["record_id"]
        assert promise.record_hash == record_hash(base64.b64decode(receipt["record"]))
    stranger = await group.refused("refused", "zoe", "POST", "/v1/groups/g/mutes", body)
    assert "receipt" not in stranger
    batch = await group.do(
        "ann", "POST", "/v1/batches",
        {"items": [{"action": "group.unmute", "group_id": "g", "person_id": "dan"}]},
    )  # fmt: skip
    assert batch["items"][0]["receipt"]["receipt"]["kind"] == "receipt"
