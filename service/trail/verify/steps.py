"""The verifier as a whole: opening, records, then what holds across them (trail-format section 10)."""

from collections.abc import Iterator
from typing import Final

from service.trail.merkle import ProofError, root_of_leaves
from service.trail.verify.lines import Lines
from service.trail.verify.opening import Opening
from service.trail.verify.records import Records
from service.trail.verify.shown import read_hashes
from service.trail.verify.trust import Policy, Receipt, State
from service.trail.verify.verdict import Facts, Fault

NODES_IN_A_LINE: Final = 4_096
SECOND_US: Final = 1_000_000


class Check:
    """One run over the lines of a bundle. `facts` fill as it goes."""

    def __init__(
        self,
        policy: Policy,
        state: State | None = None,
        asked: tuple[str, str] | None = None,
        receipt: Receipt | None = None,
    ) -> None:
        self._policy = policy
        self._state = state
        self._asked = asked
        self._receipt = receipt
        self.facts = Facts(
            origin=policy.origin,
            pinned_keys=[str(key.vkey) for key in policy.log_keys],
            witnesses_known=len({key.name for key in policy.witnesses}),
            quorum=policy.quorum,
        )

    def run(self, lines: Lines) -> State:
        """Check everything and return the state to keep. Raises the first fault.

        The order of the steps is the order of the lines: of two faults, the one of the earlier line is told.
        """
        facts, policy = self.facts, self._policy
        opening = Opening(lines, policy, self._state, self._asked, facts)
        opening.run()
        Records(lines, policy, opening, facts, self._receipt).run()
        facts.shown = len(opening.entries.records)
        self._times(opening)
        opening.history.close(facts.n, facts.subject_root, opening.right)
        facts.subject_compared = opening.history.compared
        self._include(opening, lines)
        lines.close()
        if policy.require_complete and (facts.a, facts.b) != (0, facts.n):
            raise Fault("E_COMPLETE")
        if self._receipt:
            self._judge_receipt(self._receipt, opening)
        return self._new_state(opening)

    def _times(self, opening: Opening) -> None:
        facts, last = self.facts, 0
        for index, time, _ in opening.entries:
            if time < last:
                raise Fault("E_TIME", index=index)
            last = time
        for name, time in facts.witness_times.items():
            if (time + 1) * SECOND_US + self._policy.skew_us < facts.map_time_us:
                raise Fault("E_TIME", name=name)
        if facts.map_time_us < (self._policy.min_time_us or 0):
            raise Fault("E_STALE")
        kinds = (opening.entries.records, opening.entries.cited)
        facts.earliest_us = min((kind.times[0] for kind in kinds if kind), default=None)

    def _include(self, opening: Opening, lines: Lines) -> None:
        shown = ((index, digest) for index, _, digest in opening.entries)
        try:
            root = root_of_leaves(shown, self.facts.size, _nodes(lines))
        except ProofError:
            raise Fault("E_INCLUSION") from None
        if root != self.facts.root:
            raise Fault("E_INCLUSION")

    def _judge_receipt(self, receipt: Receipt, opening: Opening) -> None:
        promise, facts = receipt.promise, self.facts
        if promise.mmd_us != opening.log_mmd_us:
            raise Fault("E_RECEIPT", name="mmd_us")
        if facts.receipt_index is not None:
            return
        due = promise.ts_us + promise.mmd_us + self._policy.skew_us
        complete = (facts.a, facts.b) == (0, facts.n)
        # Only then is the absence of the record a proof against the service.
        broken = complete and opening.tag in receipt.tags and facts.map_time_us > due
        raise Fault("E_RECEIPT", undecided=not broken)

    def _new_state(self, opening: Opening) -> State:
        facts, old = self.facts, self._state
        new = State(facts.origin, facts.size, facts.root, old.subjects if old else {})
        # A part that could not be compared must not displace what a later, complete bundle can be compared
        # with.
        if facts.n and (opening.tag not in new.subjects or facts.subject_compared is not None):
            new = new.with_subject(opening.tag, facts.n, facts.subject_root)
        return new


def _nodes(lines: Lines) -> Iterator[bytes]:
    """The hashes of the multi-proof, line by line. Raises E_FORMAT, E_INCLUSION."""
    full, count = True, 0
    for line in lines.every("nodes"):
        hashes, count = line["hashes"], count + 1
        if not full or len(hashes) > NODES_IN_A_LINE or (count > 1 and not hashes):
            raise Fault("E_FORMAT", line=lines.number)
        full = len(hashes) == NODES_IN_A_LINE
        yield from read_hashes(hashes, "E_INCLUSION", lines.number)
    if not count:
        raise Fault("E_FORMAT", line=lines.number + 1)
