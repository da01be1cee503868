"""Casbin decides every cell of the request domain once; the result is a table that needs no Casbin to be
asked.

This is the only module that may import casbin. It uses two small enforcers per action: Casbin names the last
matching allow, so a second enforcer with the lines in reverse order is asked for the first in file order;
denials end at the first matching line, so for them the enforcer in file order is asked.
"""

import contextlib
import hashlib
import logging
import os
import re
import tempfile
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path

import casbin
import msgspec
from casbin.model import Model

from .lines import Line
from .sheets import Findings, read_text
from .vocabulary import RELATIONS, STANDINGS, TIERS

# casbin logs each denial with the whole request at WARNING.
logging.getLogger("casbin").setLevel(logging.CRITICAL)

FORMAT = 1
EFFECT = "some(where (p.eft == allow)) && !some(where (p.eft == deny))"
MOST_MODEL_LINES = 9
REQUEST = ["r_standing", "r_action", "r_relation", "r_tier"]
RULE = ["p_id", "p_standing", "p_action", "p_relation", "p_tier", "p_eft"]
# No functions, no other names, no "in" but the one for tiers: only then is asking one unnamed standing and
# one unnamed relation per action the same as asking all of them.
MATCHER = re.compile(
    r"""(\s|\(|\)|&&|\|\||==|!=|"[^"]*"|r\.tier\s+in\s+p\.tier
    |r\.(standing|action|relation|tier)\b|p\.(id|standing|action|relation|tier)\b)+""",
    re.VERBOSE,
)

Cell = tuple[str, str, str, str]
"""Action, standing, relation, tier."""

Table = dict[Cell, int]
"""The deciding line (index in file order) of every cell some line matches; a cell that is absent matches
none.
"""


class ModelError(Exception):
    """Casbin cannot be trusted with this model.conf, or answers otherwise than the lines say."""


def read_model(data: bytes, findings: Findings) -> str | None:
    """The text of model.conf, or None with findings where it does not decide as the project needs."""
    text = read_text(data, findings)
    if text is None:
        return None
    before = len(findings.problems)
    line_of, value_of = _definitions(text)
    numbers = [number for number, line in enumerate(text.split("\n"), 1) if line.strip()]
    if len(numbers) > MOST_MODEL_LINES:
        findings.add(numbers[MOST_MODEL_LINES], "model.conf is ten lines or longer", "keep it short to read")
    if value_of.get("e") != EFFECT:
        findings.add(line_of.get("e", 1), "the effect is not allow-and-not-deny", f"write e = {EFFECT}")
    if not MATCHER.fullmatch(value_of.get("m", "")):
        what = "the matcher is more than comparisons"
        findings.add(line_of.get("m", 1), what, "compare r.* with p.* and words only")
    if len(findings.problems) > before:
        return None
    try:
        _probe(text)
    except ModelError as fault:
        findings.add(line_of["m"], str(fault), "restore the published model")
        return None
    except Exception as error:  # noqa: BLE001 -- casbin and its evaluator raise whatever they meet
        findings.add(line_of["m"], f"casbin cannot use it ({type(error).__name__}: {error})", "correct it")
        return None
    return text


def _definitions(text: str) -> tuple[dict[str, int], dict[str, str]]:
    """Where each name of the model is defined, and as what; a name defined twice has no value."""
    line_of: dict[str, int] = {}
    value_of: dict[str, str] = {}
    for number, line in enumerate(text.split("\n"), 1):
        name, equals, value = line.partition("=")
        if equals:
            value_of[name.strip()] = "" if name.strip() in line_of else value.strip()
            line_of[name.strip()] = number
    return line_of, value_of


def compile_table(model: str, lines: Sequence[Line]) -> Table:
    """Ask Casbin about every distinct input of every action and spread the answers over the whole domain.

    Raises ModelError where Casbin's answer and the effect of the line it names differ, or where that line does not speak
    of the cell.
    """
    by_action: dict[str, list[int]] = {}
    for index, line in enumerate(lines):
        by_action.setdefault(line.action, []).append(index)
    literals = set(re.findall(r'"([^"]*)"', model))
    table: Table = {}
    for action, indexes in by_action.items():
        table.update(_compile_action(model, action, lines, indexes, literals))
    return table


def plain_enforcer(model: str, lines: Iterable[Line]) -> casbin.Enforcer:
    """An enforcer over these lines, in this order, without files or filters."""
    loaded = Model()
    loaded.load_model_from_text(model)
    for line in lines:
        rule = [line.id, line.standing, line.action, line.relation, line.tier, line.effect]
        if not loaded.add_policy("p", "p", rule):
            raise ModelError(f"casbin does not take {line.id}")
    return casbin.Enforcer(loaded)


def keep_table(table: Table, edition: str, folder: Path) -> None:
    """Write the table beside others, atomically. A folder that cannot be written costs only the next
    start.
    """
    cells = [
        (action, STANDINGS.index(standing), RELATIONS.index(relation), TIERS.index(tier), index)
        for (action, standing, relation, tier), index in table.items()
    ]
    body = msgspec.json.encode(cells)
    kept = msgspec.json.encode(_Kept(FORMAT, edition, _seal(edition, body), msgspec.Raw(body)))
    with contextlib.suppress(OSError):
        folder.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=folder, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                file.write(kept)
            Path(name).replace(table_path(edition, folder))
        finally:
            Path(name).unlink(missing_ok=True)


def kept_table(edition: str, lines: Sequence[Line], folder: Path) -> Table | None:
    """The table kept for this edition, or None where there is none, it is damaged, or it does not fit the
    lines.

    The hash finds damage, not forgery: the folder must belong to the service alone.
    """
    try:
        kept = msgspec.json.decode(table_path(edition, folder).read_bytes(), type=_Kept)
        body = bytes(kept.cells)
        if kept.format != FORMAT or kept.edition != edition or kept.seal != _seal(edition, body):
            return None
        cells = msgspec.json.decode(body, type=list[tuple[str, int, int, int, int]])
        table = {
            (a, STANDINGS[s], RELATIONS[r], TIERS[t]): index
            for a, s, r, t, index in cells
            if min(s, r, t, index) >= 0
        }
        fits = len(table) == len(cells) and all(_covers(lines[index], cell) for cell, index in table.items())
    except (OSError, msgspec.MsgspecError, IndexError):
        return None
    return table if fits else None


def table_path(edition: str, folder: Path) -> Path:
    """Where the table of an edition is kept."""
    return folder / f"policy-{edition}.v{FORMAT}.json"


class _Kept(msgspec.Struct):
    format: int
    edition: str
    seal: str
    cells: msgspec.Raw


def _seal(edition: str, body: bytes) -> str:
    return hashlib.sha256(f"{FORMAT}:{edition}:".encode() + body).hexdigest()


def _covers(line: Line, cell: Cell) -> bool:
    action, standing, relation, tier = cell
    is_named = line.action == action and line.standing == standing
    return is_named and relation in line.relations and tier in line.tiers


def _compile_action(
    model: str, action: str, lines: Sequence[Line], indexes: Sequence[int], literals: Collection[str]
) -> Table:
    index_of = {lines[index].id: index for index in indexes}
    forward = plain_enforcer(model, [lines[index] for index in indexes])
    backward = plain_enforcer(model, [lines[index] for index in reversed(indexes)])
    named = {word for index in indexes for word in (lines[index].standing, lines[index].relation)} | set(
        literals
    )
    standings, relations = _classes(STANDINGS, named), _classes(RELATIONS, named)
    everywhere = all(lines[index].tier == "*" for index in indexes)
    tiers = [TIERS] if everywhere else [(tier,) for tier in TIERS]
    table: Table = {}
    for alike in standings:
        for related in relations:
            for levels in tiers:
                index = _ask(forward, backward, (alike[0], action, related[0], levels[0]), lines, index_of)
                if index is not None:
                    cells = ((action, s, r, t) for s in alike for r in related for t in levels)
                    table.update(dict.fromkeys(cells, index))
    for cell, index in table.items():
        if not _covers(lines[index], cell):
            raise ModelError(
                f"casbin decides {' '.join(cell)} by the line {lines[index].id}, which says nothing of it"
            )
    return table


def _ask(
    forward: casbin.Enforcer,
    backward: casbin.Enforcer,
    request: tuple[str, str, str, str],
    lines: Sequence[Line],
    index_of: dict[str, int],
) -> int | None:
    allowed, named = forward.enforce_ex(*request)
    if allowed:
        _, named = backward.enforce_ex(*request)
    if not named:
        return None
    index = index_of[named[0]]
    if (lines[index].effect == "allow") != allowed:
        raise ModelError(f"casbin answers {allowed} by the line {lines[index].id}")
    return index


def _classes(words: Sequence[str], named: Collection[str]) -> list[tuple[str, ...]]:
    """Words no line names answer alike: they stand together, the named ones alone."""
    unnamed = tuple(word for word in words if word not in named)
    return [(word,) for word in words if word in named] + ([unnamed] if unnamed else [])


def _probe(model: str) -> None:
    loaded = Model()
    loaded.load_model_from_text(model)
    request, rule = (loaded["r"] or {}).get("r"), (loaded["p"] or {}).get("p")
    if request is None or rule is None or (request.tokens, rule.tokens) != (REQUEST, RULE):
        raise ModelError("request or policy definition has other columns")
    allow = ("one", "owner", "group.mute", "lower", "*", "allow")
    tiered = ("two", "admin", "group.mute", "any", "1|2", "allow")
    deny = ("three", "owner", "group.mute", "any", "4", "deny")
    misspelt = ("four", "member", "group.mute", "any", "*", "allwo")
    cases = (
        ((allow,), ("owner", "group.mute", "lower", "3"), True),
        ((allow,), ("admin", "group.mute", "lower", "3"), False),
        ((allow,), ("owner", "group.unmute", "lower", "3"), False),
        ((allow,), ("owner", "group.mute", "here", "3"), False),
        ((allow,), ("owner", "group.mute", "any", "3"), False),
        ((tiered,), ("admin", "group.mute", "here", "2"), True),
        ((tiered,), ("admin", "group.mute", "here", "3"), False),
        ((tiered,), ("admin", "group.mute", "here", "-"), False),
        ((allow, deny), ("owner", "group.mute", "lower", "4"), False),
        ((deny, allow), ("owner", "group.mute", "lower", "4"), False),
        ((deny, allow), ("owner", "group.mute", "lower", "3"), True),
        ((deny,), ("admin", "group.mute", "here", "1"), False),
        ((misspelt,), ("member", "group.mute", "here", "1"), False),
        ((), ("owner", "group.mute", "lower", "1"), False),
    )
    for rules, asked, expected in cases:
        loaded.clear_policy()
        for words in rules:
            loaded.add_policy("p", "p", list(words))
        if casbin.Enforcer(loaded).enforce(*asked) is not expected:
            raise ModelError(f"{asked} by {rules} is decided {not expected}")
