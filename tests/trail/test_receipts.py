"""What is promised of a record, in the bytes that everybody reads."""

import hashlib

from service.trail.entry import Genesis
from service.trail.keys import TrailKeys
from service.trail.note import Note, Promise, Signer, Vkey, signed_by
from service.trail.receipts import Receipts
from service.trail.record import SUBJECT_TYPES, canonical, parse, record_hash
from service.trail.writing import Written

ORIGIN = "mandate.example/trail/1"
SEED = hashlib.sha256(b"receipt").digest()
BODY = b'{"id":"01a227ed-29c0-703c-8f18-2928424c1d30","ts_us":1790000000000000}'
RECORD = Written(BODY, record_hash(BODY), "01a227ed-29c0-703c-8f18-2928424c1d30", 1_790_000_000_000_000)


def receipts(*, since_us: int = 0) -> Receipts:
    keys = TrailKeys(
        tag_keys={kind: hashlib.sha256(kind.encode()).digest() for kind in SUBJECT_TYPES},
        master=bytes(32),
        log_seed=bytes(32),
        receipt_seed=SEED,
    )
    public = Signer(f"{ORIGIN}/receipt", SEED).vkey
    log_key = Vkey(ORIGIN, 1, bytes(32))
    return Receipts(Genesis(ORIGIN, 20, 10_000_000, log_key, public, {}, None), keys, since_us=since_us)


def test_a_receipt_is_signed_by_the_key_of_the_log() -> None:
    """Format 4.2: canonical JSON of the record and of a note whose signature is the one that Ed25519 gives, each time the same."""
    signer = Signer(f"{ORIGIN}/receipt", SEED)
    made = receipts().receipt(BODY)
    assert made == receipts().of(RECORD)
    assert made is not None
    told = parse(made)
    assert isinstance(told, dict)
    assert made == canonical(told)
    note = Note.parse(str(told["note"]))
    assert [one.key for one in signed_by(note, [signer.vkey])] == [signer.vkey]
    text = str(Promise(ORIGIN, RECORD.id, RECORD.hash, RECORD.ts_us, 10_000_000))
    assert str(told["note"]) == str(Note(text, (signer.sign(text),)))


def test_nothing_is_promised_for_the_log_before() -> None:
    """Records of a log that this one replaced have no receipt of this one."""
    assert receipts(since_us=RECORD.ts_us).of(RECORD) is None
    assert receipts(since_us=RECORD.ts_us - 1).of(RECORD) is not None
