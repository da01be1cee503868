"""Evidence over REST: bundles, what a reader needs to check them, and receipts."""

from __future__ import annotations

import tempfile
from collections.abc import AsyncIterator
from typing import IO, Annotated, Any

import msgspec
import structlog
from litestar import Request, Response, get, post
from litestar.params import QueryParameter
from litestar.response import Stream

from service.api.acting import body_of, decoded, headers_of, request_id
from service.api.callers import Callers
from service.api.documentation import refuses, shows
from service.api.office import EditionWhole, whole_edition
from service.api.problems import response_of
from service.api.reading import Parameters, reader
from service.api.trails import RECORD_ID
from service.caller import Caller, Standing
from service.db import Db
from service.domain.trails import ExportTrail
from service.door import Door
from service.errors import Code, Refusal
from service.trail import ended, evidence, logkeys, reading
from service.trail.entry import Genesis
from service.trail.exporter import Asked, Exporter, NotPublished, OutsideTrail, UnknownLog, inclusion
from service.trail.keys import TrailKeys
from service.trail.note import LARGEST_SIZE
from service.trail.record import HEX_DIGEST, SUBJECT_TYPES, canonical

_log = structlog.get_logger("mandate.exports")
_IN_MEMORY = 4 << 20
_CHUNK = 1 << 18
_PRIVATE = {"cache-control": "private, no-store"}
_NUMBER = {"type": "integer", "minimum": 0, "maximum": 2**53 - 1}
_ID = {"type": "string", "minLength": 1, "maxLength": 128}
_LOG = {"type": "string", "pattern": r"^[^\s+]{1,255}$"}
_BODY = {
    "type": "object",
    "properties": {
        "subject_type": {"type": "string", "enum": list(SUBJECT_TYPES)},
        "subject_id": _ID,
        "purpose": {"type": "string", "description": "Why it is taken; sealed."},
        "from_record": _NUMBER,
        "to_record": _NUMBER,
        "old_size": _NUMBER | {"minimum": 1},
        "log": _LOG | {"description": "Name of a log that was ended; the one that stands if none."},
    },
    "required": ["subject_type", "subject_id"],
    "additionalProperties": False,
}
_EXAMPLE = {"subject_type": "group", "subject_id": "g", "purpose": "order 2026-17"}


class LogKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key of the log and the sizes for which it counts: from `from_size`, up to and without `to_size` (null: still)."""

    from_size: int
    to_size: int | None
    vkey: str


class TrustPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """What the verifier takes as given (format section 10). Times are microseconds; `tag_keys` are hex, by subject type."""

    log_keys: list[LogKey]
    min_time_us: int | None
    mmd_us: int
    origin: str
    quorum: int
    receipt_keys: list[str]
    require_complete: bool
    require_state: bool
    skew_us: int
    tag_keys: dict[str, str]
    witnesses: list[str]


class SignedReceipt(msgspec.Struct, frozen=True, kw_only=True):
    """A receipt (format section 4.2): the signed note, and the record it promises to log, base64."""

    kind: str
    note: str
    record: str


class InclusionProof(msgspec.Struct, frozen=True, kw_only=True):
    """That a signed tree holds a record: the checkpoint, the record's entry (base64), its index, and the path (base64)."""

    entry: str
    hashes: list[str]
    index: int
    kind: str
    note: str


EndedLog = Annotated[
    str | None,
    QueryParameter(
        pattern=r"^[^\s+]{1,255}$", description="Name of a log that was ended; the one that stands if none."
    ),
]
SignedSize = Annotated[
    int | None, QueryParameter(ge=2, le=LARGEST_SIZE, description="Of the checkpoint; the newest if none.")
]


@post(
    "/v1/trail-exports",
    operation_id="trail.export",
    tags=["trail"],
    status_code=200,
    opt={"untimed": True}
    | shows(media="application/jsonl", body=_BODY, example=_EXAMPLE)
    | refuses(Code.PURPOSE_MISSING, Code.PERSON_CLOSED),
)
async def export_trail(request: Request[Any, Any, Any]) -> Response[bytes] | Stream:
    """Take away the evidence bundle of one subject, as of the newest checkpoint; the taking is itself a record.

    The file is checked offline by the verifier (`python -m service.trail.verify`), without this service. A subject
    without records gets the proof that it has none. Authorities get personal fields withheld.
    """
    headers = headers_of(request)
    state = request.app.state
    callers: Callers = state.callers
    door: Door = state.door
    caller = await callers.caller(request.scope, headers)
    asked: Any = decoded(ExportTrail, await body_of(request, headers), {})
    answer = await door.act(asked, caller=caller, request_id=request_id(request))
    if answer.status >= 400:
        return response_of(answer)
    file = tempfile.SpooledTemporaryFile(_IN_MEMORY)  # noqa: SIM115  closed when the last byte is sent
    try:
        await _write(state.exporter, asked, caller, file)
    except BaseException:
        file.close()
        raise
    name = f"{asked.subject_type}-{asked.subject_id}".replace(":", "_")
    sent = _PRIVATE | {
        "content-length": str(file.tell()),
        "content-disposition": f'attachment; filename="{name}.mandate"',
        "x-record-id": answer.record_id,
    }
    return Stream(_sent(file), media_type="application/jsonl", headers=sent)


async def _write(exporter: Exporter, asked: ExportTrail, caller: Caller, file: IO[bytes]) -> None:
    subject = (asked.subject_type, asked.subject_id)
    span = None if asked.to_record is None else (asked.from_record or 0, asked.to_record)
    try:
        wanted = Asked(subject, caller.kind == "staff", span, asked.old_size, asked.log)
        await exporter.write(wanted, file.write)
    except UnknownLog:
        raise Refusal(Code.UNKNOWN, pointer="/log") from None
    except NotPublished:
        if asked.log is not None:
            raise Refusal(Code.TRAIL_DAMAGED, row="checkpoint: not the end of this log is signed") from None
        raise Refusal(Code.TRAIL_UNAVAILABLE, why="nothing is signed yet") from None
    except OutsideTrail as outside:
        raise Refusal(Code.MALFORMED, pointer="/to_record", maximum=outside.n) from None


async def _sent(file: IO[bytes]) -> AsyncIterator[bytes]:
    with file:
        file.seek(0)
        while chunk := file.read(_CHUNK):
            yield chunk


@get(
    "/v1/trail-exports/{record_id:str}/editions/{edition:str}",
    operation_id="trail.edition",
    tags=["trail"],
    opt=shows(EditionWhole),
)
async def edition_of_export(request: Request[Any, Any, Any]) -> Response[EditionWhole]:
    """Get an edition that records of a bundle name, whole; for whoever took that bundle, as part of that act.

    Its digest is in the record: whoever has the files computes it and needs to trust nobody (S197).
    """
    known = await reader(request, authorities=True)
    state = request.app.state
    record_id = str(request.path_params["record_id"])
    found = await reading.find(state.db, [record_id]) if RECORD_ID.fullmatch(record_id) else []
    if not found or not known.staff_id:
        raise Refusal(Code.UNKNOWN)
    took = found[0].body
    if (took["act"], took["out"]) != ("trail.export", "done") or not _may_have(
        known, took["by"], state["keys"]
    ):
        raise Refusal(Code.UNKNOWN)
    edition = str(request.path_params["edition"])
    return await whole_edition(request, edition if HEX_DIGEST.fullmatch(edition) else "")


@get(
    "/.well-known/mandate-trust.json",
    operation_id="trust.public",
    tags=["trail"],
    opt={"public": True} | shows(TrustPolicy),
)
async def public_trust(request: Request[Any, Any, Any], log: EndedLog = None) -> Response[bytes]:
    """Get the policy file of the verifier with the public keys of this log, or of one that was ended, without tag keys.

    Compare the keys with what you were given by another way: who answers here could show others.
    """
    del log
    policy = evidence.trust_policy(*await _trusted(request))
    return Response(canonical(policy) + b"\n", media_type="application/json")


async def _trusted(request: Request[Any, Any, Any]) -> tuple[Genesis, evidence.Trusted]:
    state = request.app.state
    log = Parameters(request, "log").text("log")
    async with state.db.read(snapshot=True) as db:
        genesis = state.sequencer.genesis if log is None else await ended.enter(db, log)
        if genesis is None:
            raise Refusal(Code.UNKNOWN, pointer="log")
        log_keys = await logkeys.read(db)
    return genesis, evidence.Trusted(log_keys, [one.vkey for one in state.witnesses], state.quorum)


@get("/v1/trust", operation_id="trust.read", tags=["trail"], opt=shows(TrustPolicy))
async def read_trust(request: Request[Any, Any, Any], log: EndedLog = None) -> Response[bytes]:
    """Get the policy file of the verifier with public keys and tag keys, for auditors and compliance."""
    del log
    known = await reader(request)
    if not {Standing.AUDITOR, Standing.COMPLIANCE} & set(known.standings):
        raise Refusal(Code.REFUSED)
    policy = evidence.trust_policy(*await _trusted(request), request.app.state["keys"])
    _log.warning("tag_keys.shown", staff_id=known.staff_id, key_id=known.key_id)
    return Response(canonical(policy) + b"\n", media_type="application/json", headers=_PRIVATE)


@get(
    "/v1/records/{record_id:str}/receipt",
    operation_id="trail.receipt",
    tags=["trail"],
    opt=shows(SignedReceipt),
)
async def read_receipt(request: Request[Any, Any, Any]) -> Response[bytes]:
    """Get the signed receipt of a record: a promise that the log holds it within the time that entry 0 names.

    The record's id is in the answer to every governed act. Ed25519 signs the same text always the same: it may be asked
    for at any later time. A backend gets the receipts of all but staff's acts, staff those of their own.
    """
    state = request.app.state
    record_id = await _own_record(request)
    body = await reading.body_of(state.db, record_id)
    if body is None:
        raise Refusal(Code.UNKNOWN)
    door: Door = state.door
    receipt = None if door.receipts is None else door.receipts.receipt(body)
    if receipt is None:
        raise Refusal(Code.UNKNOWN)
    return Response(receipt + b"\n", media_type="application/json", headers=_PRIVATE)


@get(
    "/v1/records/{record_id:str}/inclusion",
    operation_id="trail.inclusion",
    tags=["trail"],
    opt=shows(InclusionProof),
)
async def read_inclusion(request: Request[Any, Any, Any], size: SignedSize = None) -> Response[bytes]:
    """Get the proof that the signed log holds a record, and so that its receipt was kept; for whom the receipt is for.

    As of the newest checkpoint, or of the one of `size` entries, which the reader may have from elsewhere. 503
    `trail_unavailable` until a checkpoint with the record is signed: within the seconds that entry 0 promises.
    """
    del size
    asked = Parameters(request, "size")
    chosen = asked.number("size", 2, LARGEST_SIZE)
    record_id = await _own_record(request)
    db: Db = request.app.state.db
    try:
        async with db.read(snapshot=True) as snapshot:
            proof = await inclusion(snapshot, record_id, chosen)
    except NotPublished:
        raise _not_signed(chosen) from None
    if proof is None:
        raise _not_signed(chosen)
    return Response(canonical(proof) + b"\n", media_type="application/json", headers=_PRIVATE)


def _not_signed(size: int | None) -> Refusal:
    if size is None:
        return Refusal(Code.TRAIL_UNAVAILABLE, why="no checkpoint with this record is signed yet")
    return Refusal(
        Code.MALFORMED, pointer="size", why="no checkpoint of this size with this record was signed"
    )


async def _own_record(request: Request[Any, Any, Any]) -> str:
    """The id of the record in the path, if it is the caller's own to know of. Raises Refusal `unknown`."""
    known = await reader(request)
    record_id = str(request.path_params["record_id"])
    if not RECORD_ID.fullmatch(record_id):
        raise Refusal(Code.UNKNOWN)
    found = await reading.find(request.app.state.db, [record_id])
    if not found or not _may_have(known, found[0].body["by"], request.app.state["keys"]):
        raise Refusal(Code.UNKNOWN)
    return record_id


def _may_have(caller: Caller, by: dict[str, Any], keys: TrailKeys) -> bool:
    if caller.staff_id:
        return by["tag"] == keys.tag("staff", caller.staff_id).hex()
    return by["kind"] != "staff"


ROUTES = [export_trail, edition_of_export, public_trust, read_trust, read_receipt, read_inclusion]
