"""Signed notes, against the examples of C2SP and Go, and the texts the trail puts into them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.trail.note import (
    _SMALL_ORDER,
    COSIGNATURE,
    ED25519,
    Checkpoint,
    KeyChange,
    Note,
    NoteError,
    Promise,
    Signature,
    SignatureError,
    Signer,
    Vkey,
    from_base64,
    signed_by,
    to_base64,
)
from tests.trail.memory import digest


def test_notes_of_others_are_judged_as_they_say(vectors):
    """Every good note of the vectors verifies by its key, every bad one does not."""
    for case in vectors("signed_note")["notes"]:
        key = Vkey.parse(case["vkey"], ED25519)
        try:
            note = Note.parse(case["note_utf8"])
            good = bool(signed_by(note, [key]))
            assert str(note) == case["note_utf8"]
        except NoteError:
            good = False
        assert good == case["valid"], case["name"]


def test_a_key_is_known_by_its_own_key_id_only(vectors):
    """A verifier key whose id is not that of its name, type and bytes is refused; a good one comes back."""
    for case in vectors("signed_note")["vkeys"]:
        if case["valid"]:
            assert str(Vkey.parse(case["vkey"], ED25519)) == case["vkey"]
        else:
            with pytest.raises(NoteError):
                Vkey.parse(case["vkey"], ED25519)


@pytest.mark.parametrize("start", ["00", "01", "26e8958f", "c7176a70", "ecff", "edff", "eeff"])
@pytest.mark.parametrize("sign", [0, 0x80])
def test_a_key_by_which_anybody_can_sign_is_none(start, sign):
    """The few keys of small order are refused, as they are and with their sign turned: for them signatures can be made up."""
    (public,) = (one for one in _SMALL_ORDER if one.hex().startswith(start))
    key = Vkey("weak.example", ED25519, public[:-1] + bytes([public[-1] | sign]))
    # R is the neutral point and S is 0: no private key had a part in it.
    made_up = bytes([1]) + bytes(63)
    texts = [f"{number}\n" for number in range(64)]
    made = [Note(text, (Signature(key.name, key.key_id, made_up),)) for text in texts]
    assert any(verifies(note, key) for note in made)
    with pytest.raises(NoteError, match="anybody"):
        Vkey.parse(str(key), ED25519)


def verifies(note, key):
    try:
        return bool(signed_by(note, [key]))
    except NoteError:
        return False


def test_a_cosigned_checkpoint_of_others_is_read(vectors):
    """Origin, size, root, key ids and the witness's time of the example of C2SP are found."""
    case = vectors("signed_note")["parse_only"]
    note = Note.parse(case["checkpoint_utf8"])
    checkpoint = Checkpoint.parse(note.text)
    assert (checkpoint.origin, checkpoint.size, checkpoint.root.hex()) == (
        case["origin"],
        case["size"],
        case["root_hex"],
    )
    assert str(checkpoint) == note.text
    log, witness = note.signatures
    assert (log.key_id.hex(), witness.key_id.hex()) == (case["log_key_id_hex"], case["witness_key_id_hex"])
    assert int.from_bytes(witness.raw[:8], "big") == case["witness_time"]
    assert len(witness.raw) - 8 == case["witness_sig_len"]


def test_ed25519_is_that_of_rfc_8032(vectors):
    """Our signatures are the deterministic ones of the standard."""
    for case in vectors("primitives")["ed25519"]:
        signer = Signer("x", bytes.fromhex(case["secret_hex"]))
        assert signer.vkey.public.hex() == case["public_hex"]
        message = bytes.fromhex(case["message_hex"])
        if message.isascii():
            assert signer.sign(message.decode()).raw.hex() == case["signature_hex"]


def test_a_witness_signs_a_time_and_a_text():
    """A cosignature verifies at its time only, and counts for a witness key only."""
    witness = Signer("w.example", digest("w"), COSIGNATURE)
    line = witness.cosign("log\n5\nx\n", 1_790_000_000)
    (signed,) = signed_by(Note("log\n5\nx\n", (line,)), [witness.vkey])
    assert (signed.key, signed.time) == (witness.vkey, 1_790_000_000)
    later = type(line)(line.name, line.key_id, (1_790_000_001).to_bytes(8, "big") + line.raw[8:])
    with pytest.raises(SignatureError):
        signed_by(Note("log\n5\nx\n", (later,)), [witness.vkey])
    with pytest.raises(NoteError):
        Vkey.parse(str(witness.vkey), ED25519)


@pytest.mark.parametrize(
    "note",
    [
        "",
        "\n",
        "text\n",
        "text\n\n",
        "text\n\n\u2014 name\n",
        "text\n\n\u2014 name AAAA\n",
        "text\n\n\u2014  AAAAAAA=\n",
        "text\n\n\u2014 na+me AAAAAAA=\n",
        "text\n\n\u2014 na\u00a0me AAAAAAA=\n",
        "text\n\n\u2014 name AAAAAAB=\n",
        "text\n\n\u2014 name AAAAAAA\n",
        "text\n\n\u2014 name AAAAAAA= \n",
        "text\x01\n\n\u2014 name AAAAAAA=\n",
        "text\ud800\n\n\u2014 name AAAAAAA=\n",
        "text\n\n" + "\u2014 name AAAAAAA=\n" * 17,
        "t" * 16_384 + "\n\n\u2014 name AAAAAAA=\n",
    ],
)
def test_what_is_no_note_is_refused(note):
    """Malformed, over-long and over-signed notes are refused."""
    with pytest.raises(NoteError):
        Note.parse(note)


def test_a_note_may_hold_empty_lines_and_sixteen_signatures():
    """The text ends at the last empty line."""
    note = Note.parse("one\n\ntwo\n\n" + "\u2014 name AAAAAAA=\n" * 16)
    assert (note.text, len(note.signatures)) == ("one\n\ntwo\n", 16)


@pytest.mark.parametrize(
    "text",
    [
        "log\n1\n{}\n",
        "log\n02\n{}\n",
        "log\n2\n{}\nmore\n",
        "log\n2\n{}",
        "\n2\n{}\n",
        "log\n-2\n{}\n",
        "log\n99999999999999999999\n{}\n",
        "log\n9999999999999999\n{}\n",
        "log\n2\nAAAA\n",
        "log\n\u0662\n{}\n",
    ],
)
def test_what_is_no_checkpoint_is_refused(text):
    """A checkpoint is exactly origin, size and root."""
    with pytest.raises(NoteError):
        Checkpoint.parse(text.format(to_base64(bytes(32))))


def test_promises_and_key_changes_come_back_from_their_text():
    """The texts of receipts and key entries are read as they are written, and nothing else is."""
    promise = Promise("log", "01a0c450-7754-7000-8000-000000000002", digest("r"), 5, 6)
    assert Promise.parse(str(promise)) == promise
    old, new = Signer("log", digest("1")), Signer("log", digest("2"))
    change = KeyChange("log", old.vkey, new.vkey, 7)
    text = str(change)
    assert KeyChange.parse(text) == change
    assert KeyChange.read(str(Note(text, (old.sign(text), new.sign(text))))) == change
    for signers in ((old,), (new,), (old, old)):
        with pytest.raises(NoteError):
            KeyChange.read(str(Note(text, tuple(signer.sign(text) for signer in signers))))
    for broken in (
        str(promise) + "\n",
        str(promise).replace("v1", "v2"),
        str(promise).replace("\n5\n", "\n05\n"),
    ):
        with pytest.raises(NoteError):
            Promise.parse(broken)
    for broken in (text + "\n", text.replace("key\n", "kei\n"), str(KeyChange("log", old.vkey, old.vkey, 7))):
        with pytest.raises(NoteError):
            KeyChange.parse(broken)


@given(st.binary(max_size=100))
def test_base64_is_the_one_text_of_its_bytes(data):
    """Bytes come back from their base64, and no other text gives the same bytes."""
    text = to_base64(data)
    assert from_base64(text, len(data)) == data
    for other in (text + "=", text + "\n", " " + text, text.replace("=", "")):
        if other != text:
            with pytest.raises(ValueError):
                from_base64(other)
    with pytest.raises(ValueError):
        from_base64(text, len(data) + 1)


@given(st.text(alphabet=st.sampled_from("ab\n\u2014 +=A"), max_size=60))
def test_no_text_makes_the_parser_fail_in_an_unforeseen_way(text):
    """A text is a note, and then comes back as it was, or it is refused."""
    try:
        note = Note.parse(text)
    except NoteError:
        return
    assert str(note) == text
