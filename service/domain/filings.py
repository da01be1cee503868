"""The filing register: which versions of our published documents were lodged with which authority (S213)."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar

import msgspec

from service.action import Action, Change, Instant, Jurisdiction, Need, Situation, Stand, Subject
from service.clock import instant_text, truncated
from service.domain import staff
from service.domain.identity import refuse_raw
from service.errors import Code, Refusal
from service.rows import Row

if TYPE_CHECKING:
    from service.caller import Caller
    from service.policy import Document, Policy, Terms

Words = Annotated[str, msgspec.Meta(min_length=1, max_length=120, pattern=r"\S")]


class Filing(Row, frozen=True, kw_only=True):
    """One version of one document, lodged with one authority. Only ever added."""

    table: ClassVar[str] = "filing"
    key: ClassVar[tuple[str, ...]] = ("filing_id",)
    appended: ClassVar[bool] = True

    filing_id: str
    document: str
    version: str
    authority: str
    receipt: str
    jurisdiction: str
    filed_at: dt.datetime
    at: dt.datetime


class Lodged(Row, frozen=True, kw_only=True):
    """The filing of a version with an authority. Looked at, never written; of two at once one meets the table's constraint."""

    table = "filing"
    key = ("document", "version", "authority")

    document: str
    version: str
    authority: str
    filing_id: str


def in_force(policy: Policy, at: dt.datetime) -> list[Document]:
    """The version of each published document that is in force at an instant."""
    found = (policy.document_in_force(document, at) for document in policy.documents)
    return [one for one in found if one is not None]


class RecordFiling(Action, frozen=True, kw_only=True, tag="filing.record"):
    """Note that a version of a published document was lodged with an authority, on which day, and its receipt.

    A version may be lodged before it is in force. `document` and `document_version` are those of policies/documents.csv.
    """

    created: ClassVar[bool] = True

    document: Annotated[str, msgspec.Meta(max_length=40, pattern=r"^[a-z][a-z0-9_]*$")]
    document_version: Annotated[str, msgspec.Meta(max_length=20, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$")]
    authority: Words
    receipt: Words
    filed_at: Instant
    jurisdiction: Jurisdiction

    def form(self, policy: Policy) -> None:
        """Refuses `raw_identity`: neither an authority nor its receipt is somebody's number."""
        refuse_raw("/authority", self.authority)
        refuse_raw("/receipt", self.receipt)

    def target(self, here: Situation) -> Subject:
        """The territory of the authority."""
        return Subject("jurisdiction", self.jurisdiction)

    def asked(self) -> dict[str, object]:
        return {
            "document": self.document,
            "document_version": self.document_version,
            "filed_at": instant_text(self.filed_at),
        }

    def needs(self, caller: Caller) -> Sequence[Need]:
        """The caller, and whether it was noted before."""
        key = (self.document, self.document_version, self.authority)
        return [Need(Lodged, key, write=True), *staff.needs_of(caller)]

    def stand(self, here: Situation) -> Stand:
        known = any(
            one.version == self.document_version for one in here.policy.documents.get(self.document, ())
        )
        if not known:
            raise Refusal(Code.UNKNOWN, pointer="/document_version")
        return staff.stand(here)._replace(jurisdiction=self.jurisdiction)

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `malformed` (lodged in the future), `already_in_state` (noted before)."""
        del terms
        if self.filed_at > here.at:
            raise Refusal(Code.MALFORMED, pointer="/filed_at", why="in the future")
        lodged = here.find(Lodged, self.document, self.document_version, self.authority)
        if lodged is not None:
            raise Refusal(Code.ALREADY_IN_STATE, filing_id=lodged.filing_id)
        filing = Filing(
            filing_id=here.record_id,
            document=self.document,
            version=self.document_version,
            authority=self.authority,
            receipt=self.receipt,
            jurisdiction=self.jurisdiction,
            filed_at=truncated(self.filed_at),
            at=here.at,
        )
        return Change(
            writes=[filing],
            after={"document": filing.document, "document_version": filing.version},
            personal={"authority": filing.authority, "receipt": filing.receipt},
            result={"filing_id": filing.filing_id},
        )
