"""What the log itself announces beside records: editions of the policy, and how long bodies of records are kept (section 5).

What was announced is read from the log and nowhere else: so a notice is neither lost in a crash nor written twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, NamedTuple

from service.clock import to_us
from service.db import Reader, queries
from service.trail import stored
from service.trail.entry import Notice, decode, read_config
from service.trail.kept import undamaged
from service.trail.record import canonical, parse

sql = queries(__file__)
ADOPTED: Final = "edition.adopted"
"""Code of the notice of an edition; its `p` is {"digest","effective_us"}."""
RETENTION: Final = "retention.period"
"""Code of the notice of the term after which bodies may go (record.retire); its `p` is {"digest","months"}."""


class InForce(NamedTuple):
    """The edition that is in force, and its `log_retention_months`."""

    digest: str
    months: int


async def due(db: Reader, in_force: InForce) -> list[bytes]:
    """The JSON of the notices that the log does not hold yet: of editions in the order of their force, then of the term.

    Raises Damaged.
    """
    with undamaged("a config entry of log_entry"):
        told = list(_told(row["entry"] for row in await stored.sql.configs(db)))
    announced = {p.get("digest") for code, p in told if code == ADOPTED}
    found = [
        _notice(ADOPTED, digest=row["digest"], effective_us=to_us(row["effective_at"]))
        for row in await sql.editions(db)
        if row["digest"] not in announced
    ]
    terms = [p.get("months") for code, p in told if code == RETENTION]
    if terms[-1:] != [in_force.months]:
        found.append(_notice(RETENTION, digest=in_force.digest, months=in_force.months))
    return found


def _told(configs: Iterable[bytes]) -> Iterable[tuple[str, dict[str, Any]]]:
    """Code and `p` of the notices among these entries."""
    for data in configs:
        body: bytes = getattr(decode(data), "body", b"")
        config = read_config(body)
        if isinstance(config, Notice):
            yield config.code, parse(body)["p"]


def _notice(code: str, **p: Any) -> bytes:
    return canonical({"code": code, "kind": "notice", "p": p})
