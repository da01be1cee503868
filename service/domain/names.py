"""Names: as far as they distinguish, made one where they look alike, and how similar two of them are (A5, S093). Pure.

What is found here is never decided here: reserved terms and look-alikes wait for a human.
"""

from __future__ import annotations

import csv
import unicodedata
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from service.errors import Code, Refusal

if TYPE_CHECKING:
    from service.policy import Policy, ReservedTerm

LEAST_SIMILARITY = 0.8
"""Names less similar than this are never found: the pieces of a name are cut for it. `name_similarity_review` lies above."""

_CONFUSABLES = Path(__file__).with_name("confusables.csv")


_DIRECTION = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u206a\u206b\u206c\u206d\u206e\u206f"
)
"""What says in which direction text runs (Unicode Bidi_Control), with what was once meant for the same."""


def refuse_unseen(name: str | None, pointer: str = "/name") -> None:
    """Refuse `malformed` for what a name would hold unseen: controls, ends of lines, and what turns the text round.

    Such a name is shown as another one than is compared (A5, S093). Joiners and variation selectors stay: scripts and emoji need them.
    """
    for char in name or "":
        if char in _DIRECTION or unicodedata.category(char) in {"Cc", "Zl", "Zp"}:
            raise Refusal(
                Code.MALFORMED, pointer=pointer, why=f"holds the control character U+{ord(char):04X}"
            )


def name_key(name: str) -> str:
    """A name as far as it distinguishes: letters and digits of its compatible form, without case, space and signs."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())
    return "".join(char for char in folded if unicodedata.category(char)[0] in "LNM")


@cache
def _prototypes() -> dict[int, str]:
    with _CONFUSABLES.open(encoding="utf-8", newline="") as file:
        return {
            ord(char): row["stands_for"] for row in csv.DictReader(file) for char in row["characters"].split()
        }


def skeleton(key: str) -> str:
    """The key of a name with accents dropped and characters that look alike made one (confusables.csv).

    Equal skeletons: at a glance the same name. The table covers Latin with its Greek and Cyrillic doubles, digits that are
    read as letters, and Chinese characters that differ by a stroke or by script; it is reviewed, not complete.
    """
    plain = "".join(char for char in unicodedata.normalize("NFD", key) if unicodedata.category(char) != "Mn")
    return unicodedata.normalize("NFC", plain).translate(_prototypes()) or key


def distance(one: str, other: str, most: int) -> int:
    """How many characters must be put in, left out or exchanged to make one of the other; more than `most`: `most` + 1."""
    if abs(len(one) - len(other)) > most:
        return most + 1
    before = list(range(len(other) + 1))
    for row, char in enumerate(one, 1):
        now = [row]
        for column, against in enumerate(other, 1):
            now.append(min(before[column] + 1, now[column - 1] + 1, before[column - 1] + (char != against)))
        if min(now) > most:
            return most + 1
        before = now
    return before[-1]


def similarity(one: str, other: str) -> float:
    """1 for equal skeletons; else 1 less the share of characters that differ, 0 where it is below `LEAST_SIMILARITY`."""
    longest = max(len(one), len(other), 1)
    most = longest // 5
    apart = distance(one, other, most)
    return round(1 - apart / longest, 4) if apart <= most else 0.0


def parts(bones: str) -> list[str]:
    """What a name is found by: its skeleton, and pieces of it, at least one of which each similar name has in about that place.

    Names of m characters are at most m // 4 changes away from those similar to them, so of m // 4 + 1 pieces one is whole.
    """
    return [f"={bones}", *(f"{len(bones)}:{place}:{bones[at:end]}" for place, at, end in _pieces(len(bones)))]


def probes(bones: str) -> list[str]:
    """The parts of names similar to this one, whatever their length: what to look for."""
    found = {f"={bones}"}
    here = len(bones)
    for length in range(here - here // 5, here + here // 4 + 1):
        most = max(here, length) // 5
        if most == 0 or abs(here - length) > most:
            continue
        for place, at, end in _pieces(length):
            for start in range(max(0, at - most), min(at + most, here - (end - at)) + 1):
                found.add(f"{length}:{place}:{bones[start : start + end - at]}")
    return sorted(found)


def _pieces(length: int) -> list[tuple[int, int, int]]:
    """Place, start and end of each piece of a skeleton of this length; the last ones are longer where it does not come out even.

    The migration `accounts_life` cuts the names that were there before it in the same way.
    """
    count = length // 4 + 1
    size, longer = divmod(length, count)
    starts = [place * size + max(0, place - (count - longer)) for place in range(count + 1)]
    return [(place, starts[place], starts[place + 1]) for place in range(count)]


@cache
def _bones_of_term(term: str) -> str:
    return skeleton(name_key(term))


def reserved_terms(policy: Policy, name: str) -> list[ReservedTerm]:
    """The reserved terms (names.csv) that a name holds, also written with look-alike characters or signs between."""
    bones = skeleton(name_key(name))
    return [term for term in policy.reserved if _bones_of_term(term.term) in bones]


def refuse_reserved(policy: Policy, name: str, noun: str) -> None:
    """Refuse `name_reserved` (data: the kinds) where no human would look at a name that holds a term reserved for this noun."""
    kinds = {term.kind for term in reserved_terms(policy, name) if noun in term.nouns}
    if kinds:
        raise Refusal(Code.NAME_RESERVED, pointer="/name", kinds=sorted(kinds))
