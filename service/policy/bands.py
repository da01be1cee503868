"""The tables of tiers.csv, parsed: points, thresholds, floors and what each tier changes.

This module reads and checks; computing a tier from facts is done elsewhere with these shapes.
"""

import csv
import io
import itertools
import re
from collections.abc import Mapping, Sequence

import msgspec

from .sheets import Findings, Row, one_of, read_sheet, whole
from .vocabulary import ACCOUNT_CLASSES, CREDIT_LEVELS, GROUP_CLASSES

COLUMNS = ("code", "subject", "part", "input", "band", "tier", "value", "unit", "source")
PARTS = ("points", "threshold", "floor", "effect")
HIGHEST_SCORE = 100
YES_NO = ("no", "yes")
# By input: the words its points must cover, or None where numbers are counted (open end), or the highest
# number.
POINTS: Mapping[str, Mapping[str, tuple[str, ...] | int | None]] = {
    "group": {
        "nature": GROUP_CLASSES,
        "members": None,
        "messages_per_day": None,
        "join_mode": ("invite", "approval", "open"),
        "discoverable": YES_NO,
        "link_open": YES_NO,
    },
    "account": {
        "class": ACCOUNT_CLASSES,
        "quality": HIGHEST_SCORE,
        "followers": None,
        "reads_per_post": None,
        "operator_credit": CREDIT_LEVELS,
    },
}
FLOORS: Mapping[str, tuple[str, ...]] = {
    "group": ("capacity", "minors", "nature"),
    "account": ("class", "followers"),
}
EFFECTS: Mapping[str, tuple[str, ...]] = {
    "group": (
        "member_cap",
        "admins_cap",
        "owner_credit_min",
        "successors_min",
        "admin_mute_max_s",
        "owner_mute_max_s",
        "admin_mute_all_max_s",
        "owner_mute_all_max_s",
        "reason_note_min_chars",
        "dissolve_persons",
        "transfer_persons",
        "first_action_h",
        "ownerless_mute_all_h",
        "recheck_d",
        "extra_person_rank50",
    ),
    "account": (
        "recheck_d",
        "self_check_d",
        "transfer_persons",
        "name_check",
        "comment_credit_min",
        "first_action_h",
        "extra_person_rank50",
    ),
}
EFFECT_WORDS: Mapping[str, tuple[str, ...]] = {
    "owner_credit_min": CREDIT_LEVELS,
    "comment_credit_min": CREDIT_LEVELS,
    "name_check": ("automation", "human"),
}
MAY_BE_NULL = ("owner_mute_max_s", "owner_mute_all_max_s", "self_check_d")
BAND = re.compile(r"(0|[1-9][0-9]*)\.\.(0|[1-9][0-9]*)?")


class Band(msgspec.Struct, frozen=True):
    """Whole numbers from `low` to `high`, both inclusive (`high` None: no end), and what they are worth."""

    low: int
    high: int | None
    value: int


class Scale(msgspec.Struct, frozen=True):
    """What one input is worth: by word, by band of numbers, or both (`unknown` beside numbers)."""

    words: dict[str, int]
    bands: tuple[Band, ...]

    def of(self, given: str | bool | float | None) -> int | None:
        """The worth of a fact: points or a tier; None where the scale says nothing about it.

        True and False read as yes and no, None as unknown; a number with a fraction counts as the whole
        below it; a number under the lowest band is worth nothing here.
        """
        if given is None or isinstance(given, (str, bool)):
            word = {None: "unknown", True: "yes", False: "no"}.get(given, given)
            return self.words.get(str(word))
        number = int(given)
        # Few bands, mostly the first ones: walking them is quicker than any look-up.
        for band in self.bands:
            if band.low <= number and (band.high is None or number <= band.high):
                return band.value
        return None

    def bounds(self) -> tuple[int, ...]:
        """The numbers at which a band begins or has just ended, rising: between two of them all weigh the same."""
        starts = {band.low for band in self.bands}
        ends = {band.high + 1 for band in self.bands if band.high is not None}
        return tuple(sorted(starts | ends))


class TierTable(msgspec.Struct, frozen=True):
    """Everything tiers.csv says about one kind of subject (group or account).

    `points` and `floors` by input; `thresholds` map a score of 0 to 100 to a tier; `effects` hold by name
    the four values for tiers 1 to 4, None meaning no maximum or not applicable.
    """

    points: dict[str, Scale]
    thresholds: tuple[Band, ...]
    floors: dict[str, Scale]
    effects: dict[str, tuple[int | str | None, ...]]


class TierEdition(msgspec.Struct, frozen=True):
    """What one edition says of tiers, and nothing else: enough to compute every result that was stored under it.

    `tier_down_wait_d`: days for which a lower result must hold before a tier falls.
    """

    edition: str
    tiers: dict[str, TierTable]
    tier_down_wait_d: int


def adopted_tiers(edition: str, files: Mapping[str, bytes]) -> TierEdition:
    """Read the tiers of an edition that was adopted, years ago perhaps, without judging it again.

    It was held against the closed lists of its time; today's may know other classes, effects and parameters.
    Raises ValueError where a line cannot be read at all.
    """
    rows = [
        row for row in csv.DictReader(io.StringIO(files["tiers.csv"].decode())) if row["subject"] in POINTS
    ]
    parameters = csv.DictReader(io.StringIO(files["parameters.csv"].decode()))
    wait = next(int(row["value"]) for row in parameters if row["name"] == "tier_down_wait_d")
    tables = {
        subject: _adopted_table([row for row in rows if row["subject"] == subject]) for subject in POINTS
    }
    return TierEdition(edition, tables, wait)


def _adopted_table(rows: Sequence[Mapping[str, str]]) -> TierTable:
    scales: dict[str, dict[str, Scale]] = {"points": {}, "floor": {}, "threshold": {}}
    effects: dict[str, dict[int, int | str | None]] = {}
    for row in rows:
        if row["part"] == "effect":
            value = row["value"]
            plain = None if value == "null" else int(value) if value.isdigit() else value
            effects.setdefault(row["input"], {})[int(row["tier"])] = plain
            continue
        kept = scales[row["part"]].setdefault(row["input"], Scale({}, ()))
        worth = int(row["tier"] if row["part"] == "threshold" else row["value"])
        match = BAND.fullmatch(row["band"])
        if match is None:
            kept.words[row["band"]] = worth
            continue
        band = Band(int(match[1]), int(match[2]) if match[2] else None, worth)
        bands = sorted((*kept.bands, band), key=lambda one: one.low)
        scales[row["part"]][row["input"]] = Scale(kept.words, tuple(bands))
    return TierTable(
        points=scales["points"],
        thresholds=scales["threshold"]["score"].bands,
        floors=scales["floor"],
        effects={name: tuple(by_tier[tier] for tier in sorted(by_tier)) for name, by_tier in effects.items()},
    )


def read_tiers(data: bytes, findings: Findings) -> dict[str, TierTable] | None:
    """The tables by subject, or None with findings: gaps, overlaps, a tier without its value, unknown
    words.
    """
    rows = read_sheet(data, COLUMNS, ("code",), findings, may_be_empty=("band", "tier"))
    if rows is None:
        return None
    if sum(_is_sound(row, findings) for row in rows) < len(rows):  # tables without a line would have gaps
        return None
    before = len(findings.problems)
    tables = {
        subject: _table(subject, [row for row in rows if row["subject"] == subject], findings)
        for subject in POINTS
    }
    return None if len(findings.problems) > before else tables


def _is_sound(row: Row, findings: Findings) -> bool:
    if not one_of(row, "subject", tuple(POINTS), findings) or not one_of(row, "part", PARTS, findings):
        return False
    subject, part = row["subject"], row["part"]
    inputs = {
        "points": tuple(POINTS[subject]),
        "threshold": ("score",),
        "floor": FLOORS[subject],
        "effect": EFFECTS[subject],
    }
    if not one_of(row, "input", inputs[part], findings):
        return False
    last = {"threshold": row["tier"], "effect": f"{row['input']}.{row['tier']}"}
    code = f"{subject}.{part}.{last.get(part, row['input'] + '.' + row['band'])}"
    if row["code"] != code:
        findings.add(row.line, f"code '{row['code']}' does not say what the line says", f"write {code}")
        return False
    if part != "points" and whole(row, "tier", findings, low=1, high=4) is None:
        return False
    if (row["band"] == "") != (part == "effect"):
        findings.add(
            row.line, f"band '{row['band']}' does not fit a line of {part}", "effects have none, others one"
        )
        return False
    highest = 4 if part == "floor" else HIGHEST_SCORE
    return part == "effect" or (
        whole(row, "value", findings, high=highest) is not None and _is_band(row, findings)
    )


def _is_band(row: Row, findings: Findings) -> bool:
    match = BAND.fullmatch(row["band"])
    if match is None and ".." in row["band"]:
        findings.add(row.line, f"band '{row['band']}' cannot be read", "write low..high or low..")
        return False
    if match is not None and match[2] and int(match[2]) < int(match[1]):
        findings.add(row.line, f"band '{row['band']}' ends before it begins", "write low..high")
        return False
    return True


def _table(subject: str, rows: Sequence[Row], findings: Findings) -> TierTable:
    points: dict[str, Scale] = {}
    for name, expected in POINTS[subject].items():
        chosen = [row for row in rows if row["part"] == "points" and row["input"] == name]
        points[name] = _scale(chosen, findings)
        _check_cover(f"{subject} points {name}", chosen, points[name], expected, findings)
    floors: dict[str, Scale] = {}
    for name in FLOORS[subject]:
        chosen = [row for row in rows if row["part"] == "floor" and row["input"] == name]
        for row in chosen:
            if row["value"] != row["tier"]:
                findings.add(
                    row.line, f"floor {row['value']} differs from tier {row['tier']}", "write one tier"
                )
        floors[name] = _scale(chosen, findings)
    thresholds = [row for row in rows if row["part"] == "threshold"]
    effects = {name: _effect(subject, name, rows, findings) for name in EFFECTS[subject]}
    table = TierTable(points, _thresholds(subject, thresholds, findings), floors, effects)
    _check_sum(subject, table, rows, findings)
    _check_capacity(table, rows, findings)
    return table


def _scale(rows: Sequence[Row], findings: Findings) -> Scale:
    words: dict[str, int] = {}
    bands: list[tuple[Band, Row]] = []
    for row in rows:
        value = int(row["value"])
        band = _band(row, value)
        if band is None:
            words[row["band"]] = value
        else:
            bands.append((band, row))
    bands.sort(key=lambda pair: pair[0].low)
    for (lower, _), (upper, row) in itertools.pairwise(bands):
        if lower.high is None or upper.low <= lower.high:
            findings.add(row.line, f"band {row['band']} overlaps the one before", "begin one above its end")
        elif upper.low != lower.high + 1:
            findings.add(row.line, f"gap between {lower.high} and {upper.low}", f"begin at {lower.high + 1}")
    return Scale(words, tuple(band for band, _ in bands))


def _band(row: Row, value: int) -> Band | None:
    match = BAND.fullmatch(row["band"])
    return None if match is None else Band(int(match[1]), int(match[2]) if match[2] else None, value)


def _check_cover(
    name: str, rows: Sequence[Row], scale: Scale, expected: tuple[str, ...] | int | None, findings: Findings
) -> None:
    line = rows[0].line if rows else 1
    if isinstance(expected, tuple):
        for word in expected:
            if word not in scale.words:
                findings.add(line, f"{name} has no line for '{word}'", "add it")
        for row in rows:
            if row["band"] not in expected:
                findings.add(row.line, f"{name} '{row['band']}' is unknown", f"use {', '.join(expected)}")
        return
    known = {"unknown"} if expected is not None else set[str]()
    if scale.words.keys() != known:
        findings.add(line, f"{name} needs exactly the words {sorted(known)} beside its bands", "correct them")
    if not scale.bands or scale.bands[0].low > 1:
        findings.add(line, f"{name} does not begin at 0 or 1", "add the lowest band")
    elif scale.bands[-1].high != expected:
        end = "open" if expected is None else expected
        findings.add(line, f"{name} ends at {scale.bands[-1].high}", f"its last band must end {end}")


def _thresholds(subject: str, rows: Sequence[Row], findings: Findings) -> tuple[Band, ...]:
    before = len(findings.problems)
    floors = _scale(rows, findings)
    tiers = tuple(int(row["tier"]) for row in sorted(rows, key=lambda row: row["tier"]))
    bands = floors.bands
    line = rows[0].line if rows else 1
    if tiers != (1, 2, 3, 4) or len(bands) != len(tiers):
        findings.add(line, f"{subject} thresholds name tiers {tiers}", "one band for each of 1 2 3 4")
    elif bands[0].low != 0 or bands[-1].high != HIGHEST_SCORE:
        findings.add(
            line, f"{subject} thresholds do not cover 0 to {HIGHEST_SCORE}", "begin at 0, end at 100"
        )
    for row in rows:
        if row["band"].partition("..")[0] != row["value"]:
            findings.add(
                row.line, f"value {row['value']} is not where {row['band']} begins", "make them equal"
            )
    in_order = sorted(rows, key=lambda row: row["tier"])
    if len(findings.problems) == before and [row["value"] for row in in_order] != [
        str(band.low) for band in bands
    ]:
        findings.add(line, f"{subject} thresholds do not rise with the tier", "order them")
    return tuple(Band(band.low, band.high, tier) for band, tier in zip(bands, tiers, strict=False))


def _effect(subject: str, name: str, rows: Sequence[Row], findings: Findings) -> tuple[int | str | None, ...]:
    by_tier = {row["tier"]: row for row in rows if row["part"] == "effect" and row["input"] == name}
    line = next(iter(by_tier.values())).line if by_tier else 1
    values: list[int | str | None] = []
    for tier in ("1", "2", "3", "4"):
        row = by_tier.get(tier)
        if row is None:
            findings.add(line, f"{subject} effect {name} has no value for tier {tier}", "add its line")
        elif row["value"] == "null" and name in MAY_BE_NULL:
            values.append(None)
        elif name in EFFECT_WORDS:
            if one_of(row, "value", EFFECT_WORDS[name], findings):
                values.append(row["value"])
        else:
            low = 1 if name.endswith("_persons") or name == "member_cap" else 0
            high = 3 if name.endswith("_persons") else None
            values.append(whole(row, "value", findings, low=low, high=high))
    return tuple(values)


def _check_sum(subject: str, table: TierTable, rows: Sequence[Row], findings: Findings) -> None:
    most = sum(
        max((*scale.words.values(), *(band.value for band in scale.bands)), default=0)
        for scale in table.points.values()
    )
    if most > HIGHEST_SCORE:
        line = next((row.line for row in rows if row["part"] == "points"), 1)
        findings.add(
            line, f"{subject} points add up to {most}", f"keep the highest sum within {HIGHEST_SCORE}"
        )


def _check_capacity(table: TierTable, rows: Sequence[Row], findings: Findings) -> None:
    """Whatever capacity a floor puts into a tier must fit the cap of that tier, and of every heavier one."""
    caps = table.effects.get("member_cap", ())
    if len(caps) != 4 or any(not isinstance(cap, int) for cap in caps):
        return
    bands = table.floors["capacity"].bands
    lines = {row["band"]: row.line for row in rows if row["part"] == "floor" and row["input"] == "capacity"}
    cap_lines = {row["tier"]: row.line for row in rows if row["input"] == "member_cap"}
    for band in bands:
        what = f"{band.low}..{'' if band.high is None else band.high}"
        for tier in range(band.value, 5):
            cap = int(caps[tier - 1] or 0)
            if band.high is None or band.high > cap:
                own = tier == band.value
                findings.add(
                    lines.get(what, 1) if own else cap_lines.get(str(tier), 1),
                    f"capacity {what} is above member_cap {cap} of tier {tier}",
                    "end the band at the cap, or raise the cap",
                )
    highest = int(caps[3] or 0)
    if bands and (bands[0].low > 1 or (bands[-1].high is not None and bands[-1].high < highest)):
        end = bands[0].low - 1 if bands[0].low > 1 else bands[-1].high
        findings.add(
            lines.get(f"{bands[-1].low}..{bands[-1].high}", 1),
            f"capacity floors leave a gap at {end}: capacities from 1 to {highest} (member_cap of tier 4) need one",
            "let the bands reach from 1 to the highest cap",
        )
