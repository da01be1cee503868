"""What happens to a person before any group: known, verified, counted, bound by terms (domain.md (d) person.*)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, ClassVar

import msgspec

from service.action import Action, Change, Id, Instant, Jurisdiction, Need, Situation, Stand, Subject
from service.caller import Caller
from service.clock import instant_text, truncated
from service.domain import credit, staff
from service.domain.identity import Checked, Methods, Reference, check_verification, kept, looks_raw
from service.domain.people import Known, Person
from service.errors import Code, Refusal

if TYPE_CHECKING:
    from service.policy import Policy, Terms

Document = Annotated[
    str,
    msgspec.Meta(
        max_length=40, pattern=r"^[a-z][a-z0-9_]*$", description="A document of the published list."
    ),
]
Version = Annotated[
    str, msgspec.Meta(max_length=20, pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]*$", description="Its version.")
]


class PersonAction(Action, frozen=True, kw_only=True):
    """An act on one person, by the person or by the backend; to other people there is no such person."""

    person_id: Id

    def target(self, here: Situation) -> Subject:
        """The person."""
        return Subject("person", self.person_id)

    def needs(self, caller: Caller) -> Sequence[Need]:
        """The person and the caller."""
        return [Need(Person, (self.person_id,), write=True), *staff.needs_of(caller)]

    def person(self, here: Situation) -> Person:
        """The person as it is now. Raises Refusal `unknown`."""
        return here.get(Person, self.person_id)

    def stand(self, here: Situation) -> Stand:
        """The person himself, the backend, or staff."""
        person = self.person(here)
        return staff.stand(
            here, parties=(f"person:{self.person_id}",), myself=here.caller.person_id == self.person_id
        )._replace(
            jurisdiction=person.jurisdiction,
            version=person.version,
            private=True,
            gone=None if person.closed_at is None else Code.PERSON_CLOSED,
        )


class RegisterPerson(PersonAction, frozen=True, kw_only=True, tag="person.register"):
    """A person becomes known, still unverified. The id is given once and for all, also after closing (P4)."""

    created: ClassVar[bool] = True

    jurisdiction: Jurisdiction
    minor: Known = "unknown"
    bot: bool = False

    def form(self, policy: Policy) -> None:
        """Refuses `raw_identity`: an id that is a phone number, e-mail address or identity card number is not opaque (P1)."""
        if looks_raw(self.person_id):
            raise Refusal(
                Code.RAW_IDENTITY,
                pointer="/person_id",
                why="an id is opaque: no phone number, address or card",
            )

    def asked(self) -> dict[str, object]:
        return {"jurisdiction": self.jurisdiction, "bot": self.bot}

    def stand(self, here: Situation) -> Stand:
        return staff.stand(here)._replace(jurisdiction=self.jurisdiction)

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `already_exists`."""
        if here.find(Person, self.person_id) is not None:
            raise Refusal(Code.ALREADY_EXISTS)
        person = Person(
            person_id=self.person_id,
            jurisdiction=self.jurisdiction,
            created_at=here.at,
            minor=self.minor,
            bot=self.bot,
        )
        return Change(
            writes=[person],
            after={"identity_status": person.identity_status, "bot": person.bot},
            personal={} if person.minor == "unknown" else {"minor": person.minor},
            result={"identity_status": person.identity_status, "version": person.version},
        )


class VerifyPerson(PersonAction, frozen=True, kw_only=True, tag="person.verify"):
    """Keep the outcome of an identity check (S045, P1). Verified again, the person is freshly verified (S059).

    `failed` and `withdrawn` leave the groups the person owns as they are: the sweep finds them by their owner's
    `identity_status` and opens succession (group.open_succession). With the first success credit begins; without a proved
    identity it is suspended (P2).
    """

    status: Checked
    methods: Methods = []
    identity_ref: Reference | None = None

    def form(self, policy: Policy) -> None:
        check_verification(self.status, self.methods, self.identity_ref)

    def asked(self) -> dict[str, object]:
        return {"status": self.status, "methods": self.methods}

    def needs(self, caller: Caller) -> Sequence[Need]:
        """Also the ledger of credit."""
        return [*super().needs(caller), credit.ledger_needs("person", self.person_id)]

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses nothing further."""
        person = self.person(here)
        checked = msgspec.structs.replace(
            person, version=person.version + 1, **kept(self.status, self.methods, self.identity_ref, here.at)
        )
        ledger = credit.reidentified(
            here,
            "person",
            self.person_id,
            was=person.identity_status == "verified",
            now=self.status == "verified",
        )
        return Change(
            writes=[checked] if ledger is None else [checked, *ledger.writes],
            before={"identity_status": person.identity_status, "methods": person.identity_methods},
            after={"identity_status": checked.identity_status, "methods": checked.identity_methods},
            coupled=[] if ledger is None else ledger.coupled(),
            personal={} if checked.identity_ref is None else {"identity_ref": checked.identity_ref},
            result={"identity_status": checked.identity_status, "version": checked.version},
        )


class UpdatePersonFacts(PersonAction, frozen=True, kw_only=True, tag="person.update_facts"):
    """Facts as the backend counts them; what is not named stays. `seen_at` never goes back.

    Whether somebody is a minor and when he was seen is personal: the record says that it changed and seals the value.

    A bot may own no group (P3): the sweep finds groups by their owner's `bot` and opens succession.
    """

    minor: Known | None = None
    bot: bool | None = None
    seen_at: Instant | None = None

    def form(self, policy: Policy) -> None:
        if self.minor is None and self.bot is None and self.seen_at is None:
            raise Refusal(Code.MALFORMED, pointer="", why="names no fact")

    def asked(self) -> dict[str, list[str]]:
        facts = {"minor": self.minor, "bot": self.bot, "seen_at": self.seen_at}
        return {"facts": sorted(name for name, value in facts.items() if value is not None)}

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `malformed` (seen in the future)."""
        person = self.person(here)
        seen_at = person.seen_at
        if self.seen_at is not None:
            if self.seen_at > here.at:
                raise Refusal(Code.MALFORMED, pointer="/seen_at", why="in the future")
            seen_at = max(truncated(self.seen_at), person.seen_at or truncated(self.seen_at))
        changed = msgspec.structs.replace(
            person,
            version=person.version + 1,
            minor=self.minor or person.minor,
            bot=person.bot if self.bot is None else self.bot,
            seen_at=seen_at,
        )
        return Change(
            writes=[changed],
            before={"bot": person.bot},
            after={"bot": changed.bot},
            personal={
                **({} if self.minor is None else {"minor": changed.minor}),
                **({} if self.seen_at is None or seen_at is None else {"seen_at": instant_text(seen_at)}),
            },
            result={"version": changed.version},
        )


class AcceptTerms(PersonAction, frozen=True, kw_only=True, tag="person.accept_terms"):
    """The person accepts the version of a published document that is in force (policies/documents.csv, S213)."""

    document: Document
    document_version: Version

    def asked(self) -> dict[str, str]:
        return {"document": self.document, "document_version": self.document_version}

    def change(self, here: Situation, terms: Terms) -> Change:
        """Refuses `not_in_force` (data: the version that is), `already_in_state`."""
        person = self.person(here)
        in_force = here.policy.document_in_force(self.document, here.at)
        if in_force is None or in_force.version != self.document_version:
            known = {} if in_force is None else {"in_force": in_force.version}
            raise Refusal(Code.NOT_IN_FORCE, pointer="/document_version" if known else "/document", **known)
        accepted = {"document": self.document, "version": self.document_version}
        if any(accepted.items() <= earlier.items() for earlier in person.terms_accepted):
            raise Refusal(Code.ALREADY_IN_STATE)
        changed = msgspec.structs.replace(
            person,
            version=person.version + 1,
            terms_accepted=[*person.terms_accepted, accepted | {"at": instant_text(here.at)}],
        )
        return Change(
            writes=[changed], after=dict(accepted), result={**accepted, "person_version": changed.version}
        )
