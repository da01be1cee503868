"""What the records of a house say, in their order: all that a rebuilding may know.

Of the service's code only the reader of records, the tags and the seals are used.
"""

import datetime as dt
from typing import Any, NamedTuple

from service.db.pool import Reader
from service.trail.fields import open_sealed
from service.trail.keys import TrailKeys
from service.trail.record import read_record

#: Stands for a personal value whose opening is gone: nobody can say it any more.
GONE = object()
RANKS = {"stranger": 0, "member": 1, "admin": 2, "owner": 3}
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class Subject(NamedTuple):
    """A subject by its type and id."""

    type: str
    id: str


class Act(NamedTuple):
    """One act as its record tells it. An act that others agreed to is told by the last yes and by what was proposed."""

    record: str
    at: dt.datetime
    act: str
    out: str
    standing: str
    actor: Subject | None
    key: str
    why: str | None
    then: dict[str, Any]
    asked: dict[str, Any]
    before: dict[str, Any]
    after: dict[str, Any]
    coupled: list[dict[str, Any]]
    who: dict[str, Subject]
    places: list[str]
    links: list[str]
    opened: dict[str, Any]
    said: dict[str, Any]

    def id(self, role: str) -> str:
        """The id of the subject with this role."""
        return self.who[role].id

    def has(self, role: str) -> str | None:
        """The id of the subject with this role, where there is one."""
        return self.who[role].id if role in self.who else None

    def value(self, name: str, default: Any = None) -> Any:
        """A personal value that the record committed to; GONE where its opening is."""
        return self.opened.get(name, default)

    @property
    def territory(self) -> str:
        """The territory of the act's target: the jurisdiction among its subjects that has no role."""
        named = {one.id for role, one in self.who.items() if one.type == "jurisdiction"}
        free = [place for place in self.places if place not in named]
        return (free or self.places)[0]

    @property
    def rank(self) -> int:
        """The rank as which somebody acted in a group; 0 for all others."""
        noun, _, standing = self.standing.partition(".")
        return RANKS.get(standing, 0) if noun == "group" else 0

    def of(self, what: str) -> list[dict[str, Any]]:
        """What else changed by it, of one kind."""
        return [one for one in self.coupled if one.get("what") == what]


class Memory(NamedTuple):
    """The acts in their order; after how many records each stands; which records lost values to which; bodies that are gone."""

    acts: list[tuple[int, Act]]
    lost: dict[str, set[str]]
    retired: int


def instant(text: str | None) -> dt.datetime | None:
    """An instant as records write it."""
    return None if text is None else dt.datetime.fromisoformat(text)


async def remembered(reader: Reader, keys: TrailKeys) -> Memory:
    """Read all records, with the names that were told of their subjects and the values that can still be opened."""
    names = {
        row["tag"].hex(): Subject(row["type"], row["id"])
        for row in await reader.fetch("SELECT tag, type, id FROM subject_name")
    }
    opened, lost = await _openings(reader, keys)
    acts: list[tuple[int, Act]] = []
    retired = 0
    for row in await reader.fetch("SELECT id, rid, body FROM record ORDER BY id"):
        if row["body"] is None:
            retired += 1
        else:
            acts.append((row["id"], _act(read_record(row["body"]), names, opened.get(row["rid"], {}))))
    return Memory(acts, lost, retired)


def _act(body: dict[str, Any], names: dict[str, Subject], opened: dict[str, Any]) -> Act:
    p, subjects = body["p"], [names[tag] for tag in body["subj"]]
    return Act(
        record=body["id"],
        at=_EPOCH + dt.timedelta(microseconds=body["ts_us"]),
        act=body["act"],
        out=body["out"],
        standing=body["by"]["standing"] or "",
        actor=None if body["by"]["tag"] is None else names[body["by"]["tag"]],
        key=p.get("key", ""),
        why=body["why"],
        then=p.get("then", {}),
        asked=p.get("asked", {}),
        before=p.get("before", {}),
        after=p.get("after", {}),
        coupled=p.get("coupled", []),
        who={role: subjects[place] for role, place in p["who"].items()},
        places=[one.id for one in subjects if one.type == "jurisdiction"],
        links=body["links"],
        opened={name: opened.get(name, GONE) for name in body["sd"]},
        said=p,
    )


async def _openings(reader: Reader, keys: TrailKeys) -> tuple[dict[str, dict[str, Any]], dict[str, set[str]]]:
    """The values by record and name, and by each deletion the records that lost some."""
    opened: dict[str, dict[str, Any]] = {}
    lost: dict[str, set[str]] = {}
    for row in await reader.fetch(
        "SELECT f.record_id, f.name, f.key_type, f.key_id, f.sealed, f.deleted_by, k.wrapped"
        " FROM record_field f LEFT JOIN subject_key k ON (k.type, k.id) = (f.key_type, f.key_id)"
    ):
        if row["deleted_by"] is not None:
            lost.setdefault(row["deleted_by"], set()).add(row["record_id"])
        elif row["wrapped"] is not None:
            tag = keys.tag(row["key_type"], row["key_id"])
            key = keys.keyring.unwrap(row["wrapped"], purpose="record.field", tag=tag)
            _, value = open_sealed(key, record_id=row["record_id"], name=row["name"], sealed=row["sealed"])
            opened.setdefault(row["record_id"], {})[row["name"]] = value
    return opened, lost
