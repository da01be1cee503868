"""Names are given once; reserved terms and look-alikes wait for a human, who sees both names side by side."""

import asyncio
import random
from pathlib import Path
from typing import Any

import pytest

from service.caller import Caller
from service.domain.accounts.names import NameCheck, require_human
from service.domain.accounts.registration import AcceptAccount
from service.domain.names import name_key, parts, probes, reserved_terms, similarity, skeleton
from service.errors import Refusal
from service.policy import Policy, PolicyError, read_folder
from tests.api.test_accounts import accept, asking, register, run, seen
from tests.kit import POLICIES, House

pytestmark = pytest.mark.anyio

CHECKS = "/v1/name-checks"


@pytest.fixture(scope="module")
def policy() -> Policy:
    return Policy.from_folder(POLICIES)


@pytest.fixture
async def sunrise(house: House) -> House:
    """Account a, `Sunrise Kitchen`, of operator o is accepted; ben answers for operator p, a media house."""
    await run(house, "o")
    await run(house, "p", "media", who="ben")
    await accept(house, "a", name="Sunrise Kitchen")
    return house


async def alike(house: House, name: str = "Sunrise Kitchem", account_id: str = "b") -> dict[str, Any]:
    return await house.do("ben", "POST", "/v1/accounts", asking(account_id, operator_id="p", name=name))


# What no name holds


@pytest.mark.parametrize("char", ["\u202e", "\u2067", "\u200f", "\u061c", "\n", "\x07", "\x85", "\u2028"])
async def test_no_name_turns_round_or_hides(sunrise: House, char: str) -> None:
    """A5, S093: what turns text round or controls it is in no name, wherever one is given, and which it was is said."""
    name = f"{char}院务国"
    operator = {"operator_id": "q", "kind": "media", "name": name, "jurisdiction": "CN-110000"}
    group = {"group_id": "g", "name": name, "class": "family", "capacity": 10, "join_mode": "invite"}
    for who, method, path, body in (
        ("ben", "POST", "/v1/accounts", asking("b", operator_id="p", name=name)),
        ("ann", "PUT", "/v1/accounts/a/profile", {"name": name}),
        ("ben", "POST", "/v1/operators", operator),
        ("ann", "PATCH", "/v1/operators/o", {"name": name}),
        ("ann", "POST", "/v1/groups", group),
        ("ann", "PUT", "/v1/groups/g/profile", {"name": name}),
    ):
        problem = await sunrise.refused("malformed", who, method, path, body)
        assert problem["pointer"] == "/name"
        assert problem["data"] == {"why": f"holds the control character U+{ord(char):04X}"}


@pytest.mark.parametrize("name", ["می\u200cخواهم", "ක්\u200dෂ", "👩\u200d🍳 cook", "♥\ufe0f heart"])
async def test_names_keep_what_scripts_and_emoji_need(sunrise: House, name: str) -> None:
    """A5: joiners and variation selectors are kept as they were given."""
    await alike(sunrise, name)
    assert (await seen(sunrise, "b", "ben"))["name"] == name


# What is found


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("人民日报", "人民曰报"),
        ("新华网", "新華網"),
        ("paypal", "раураӏ"),
        ("Google", "G00GLE"),
        ("café noir", "Cafe-Noir"),
        ("天气通", "夭气通"),
    ],
)
def test_look_alikes_are_the_same_at_a_glance(one: str, other: str) -> None:
    """S093: letters of other scripts, digits for letters, accents, strokes and script forms fold to one skeleton."""
    assert name_key(one) != name_key(other)
    assert similarity(skeleton(name_key(one)), skeleton(name_key(other))) == 1


def test_no_similar_name_is_missed() -> None:
    """S093: of thousands of names and what few changes make of them, every pair as similar as asked shares a part."""
    chance = random.Random(7)
    letters, met = "日月水火木金土abc", 0
    for _ in range(6000):
        name = [chance.choice(letters) for _ in range(chance.randint(1, 30))]
        other = name.copy()
        for _ in range(chance.randint(0, 6)):
            at = chance.randrange(len(other) + 1)
            other[at : at + chance.randint(0, 1)] = chance.choice(["", "日", "b"])
        one, two = "".join(name), "".join(other)
        if two and similarity(one, two):
            met += 1
            assert not set(parts(one)).isdisjoint(probes(two)), (one, two)
    assert met > 3000


def test_pieces_are_those_of_the_migration(policy: Policy) -> None:
    """S093: a name of 8 is cut into 3 pieces, the last ones longer, beside its whole skeleton."""
    assert parts("abcdefgh") == ["=abcdefgh", "8:0:ab", "8:1:cde", "8:2:fgh"]
    assert reserved_terms(policy, "Sunrise Kitchen") == []


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("中国厨房", "state"),
        ("中·国 厨房", "state"),
        ("中囯厨房", "state"),
        ("纪委之窗", "party"),
        ("解放军之友", "army"),
        ("城市曰报", "media"),
        ("CcTv 美食", "media"),
        ("吃在北京", "place"),
    ],
)
def test_reserved_terms_are_found_however_they_are_written(policy: Policy, name: str, kind: str) -> None:
    """S093: terms of state, Party, army, media and place, also with signs between, other forms and look-alikes."""
    assert kind in {term.kind for term in reserved_terms(policy, name)}


# Waiting for a human


async def test_a_look_alike_waits_with_both_names_side_by_side(sunrise: House) -> None:
    """S093, A5: it waits; the list and the view show both names; accepted it is only by who says what he compared."""
    asked = await alike(sunrise)
    assert asked["result"] == {"state": "waiting", "version": 1, "name_check": "human"}
    waiting = {
        "account_id": "b",
        "name": "Sunrise Kitchem",
        "class": "life",
        "by": "registration",
        "asked_record": asked["record_id"],
        "operator_name": "唐山某某",
        "place": "CN-130200",
        "why": ["look_alike"],
        "terms": [],
        "kinds": [],
        "beside": [
            {
                "account_id": "a",
                "name": "Sunrise Kitchen",
                "similarity": 0.9286,
                "operator_name": "唐山某某",
                "place": "CN-130200",
                "state": "accepted",
            }
        ],
        "compare": ["a"],
        "version": 1,
    }
    assert await sunrise.do("cl", "GET", CHECKS) == {"names": [waiting], "next": None}
    answer = await sunrise.ask("cl", "GET", f"{CHECKS}/b")
    assert (answer.json(), answer.headers["etag"]) == (waiting, '"1"')
    path = "/v1/accounts/b/acceptance"
    for body in ({}, {"compared_with": ["c"]}):
        problem = await sunrise.refused("human_needed", "cl", "POST", path, body)
        assert (problem["pointer"], problem["data"]) == (
            "/compared_with",
            {"why": ["look_alike"], "beside": 1},
        )
    await sunrise.do("cl", "POST", path, {"compared_with": ["a"]})
    record = (await sunrise.records("account.accept"))[-1]
    assert record["p"]["after"]["name_check"] == {"why": ["look_alike"], "kinds": [], "beside": 1}
    assert set(record["p"]["who"]) == {"target", "operator", "beside_1"}
    assert (await sunrise.do("cl", "GET", CHECKS))["names"] == []
    await sunrise.refused("unknown", "cl", "GET", f"{CHECKS}/b")


async def test_a_record_of_a_check_holds_no_name(sunrise: House) -> None:
    """S093, P1: the public part tells why and of which kinds, never the name, the term or whose name stands beside."""
    await alike(sunrise, "北京 Moonlight Bakery")
    (record,) = [
        one for one in await sunrise.records("account.register") if "name_check" in one["p"]["after"]
    ]
    assert record["p"]["after"]["name_check"] == {"why": ["reserved_term"], "kinds": ["place"], "beside": 0}
    assert "北京" not in str(record)
    assert "Moonlight" not in str(record)


async def test_a_change_of_name_waits_like_a_registration(sunrise: House) -> None:
    """S094, S093: a look-alike asked for as a change stands in the same list and passes in the same way only."""
    await alike(sunrise, "Moonlight Bakery")
    await sunrise.do("cl", "POST", "/v1/accounts/b/acceptance", {})
    profile = "/v1/accounts/b/profile"
    asked = (await sunrise.do("ben", "PUT", profile, {"name": "Sunr1se Kitchen"}))["record_id"]
    assert (await sunrise.do("cl", "GET", f"{CHECKS}?by=registration"))["names"] == []
    ((waiting),) = (await sunrise.do("cl", "GET", f"{CHECKS}?by=profile"))["names"]
    assert (waiting["name"], waiting["asked_record"]) == ("Sunr1se Kitchen", asked)
    assert [one["name"] for one in waiting["beside"]] == ["Sunrise Kitchen"]
    body = {"asked_record": asked}
    await sunrise.refused("human_needed", "cl", "POST", f"{profile}/acceptance", body)
    await sunrise.do("cl", "POST", f"{profile}/acceptance", body | {"compared_with": ["a"]})
    assert (await seen(sunrise, "b"))["name"] == "Sunr1se Kitchen"


async def test_who_was_there_first_is_compared_with_nobody_after(sunrise: House) -> None:
    """A5: names that were taken earlier stand beside a name, later ones do not; one's own never do."""
    first = await sunrise.do("ann", "POST", "/v1/accounts", asking("c", name="Harbour Lights"))
    assert "name_check" not in first["result"]
    await alike(sunrise, "Harbor Lights", "d")
    assert [one["account_id"] for one in (await sunrise.do("cl", "GET", CHECKS))["names"]] == ["d"]
    await sunrise.do("cl", "POST", "/v1/accounts/c/acceptance", {})
    again = await sunrise.do("ann", "PUT", "/v1/accounts/a/profile", {"name": "Sunrise Kitchens"})
    assert "name_check" not in again["result"]


async def test_a_closed_or_refused_name_still_stands_beside_others(sunrise: House) -> None:
    """A5: what looks like a reserved name, of a refused account too, waits for a human."""
    await alike(sunrise, "Harbour Lights")
    await sunrise.do("cl", "POST", "/v1/accounts/b/refusal", {"reason": "name_misleading"})
    await alike(sunrise, "Harbor Lights", "c")
    (waiting,) = (await sunrise.do("cl", "GET", CHECKS))["names"]
    assert [(one["account_id"], one["state"]) for one in waiting["beside"]] == [("b", "refused")]


async def test_two_at_once_are_compared_when_accepted(sunrise: House) -> None:
    """S003, S093: look-alikes asked for at the same instant did not see each other; the later one is caught at acceptance."""
    await asyncio.gather(alike(sunrise, "Harbour Lights", "c"), alike(sunrise, "Harbor Lights", "d"))
    answers = [
        await sunrise.ask("cl", "POST", f"/v1/accounts/{one}/acceptance", {"compared_with": []})
        for one in "cd"
    ]
    assert sorted(answer.json().get("code", "done") for answer in answers) == ["done", "human_needed"]
    late = "cd"[next(place for place, answer in enumerate(answers) if answer.status_code == 403)]
    waiting = await sunrise.do("cl", "GET", f"{CHECKS}/{late}")
    assert waiting["why"] == ["look_alike"]
    body = {"compared_with": waiting["compare"]}
    await sunrise.do("cl", "POST", f"/v1/accounts/{late}/acceptance", body)


async def test_reserved_terms_wait_and_show_which(sunrise: House) -> None:
    """S093: a name with terms of state and place, and class news or government, stand in the list with the terms."""
    await alike(sunrise, "北京公安之窗")
    await alike(sunrise, "Morning Paper", "c")
    body = asking("d", operator_id="p", name="Evening Paper", **{"class": "news"})
    await sunrise.do("ben", "POST", "/v1/accounts", body)
    names = (await sunrise.do("cl", "GET", CHECKS))["names"]
    assert [(one["account_id"], one["why"], one["terms"], one["kinds"]) for one in names] == [
        ("b", ["reserved_term"], ["公安", "北京"], ["state", "place"]),
        ("d", ["class"], [], []),
    ]
    page = await sunrise.do("cl", "GET", f"{CHECKS}?limit=1")
    follows = await sunrise.do("cl", "GET", f"{CHECKS}?limit=1&cursor={page['next']}")
    assert [one["account_id"] for one in page["names"] + follows["names"]] == ["b", "d"]
    assert follows["next"] is None


async def test_automation_accepts_no_such_name_whatever_the_lines_say(
    sunrise: House, tmp_path: Path, policy: Policy
) -> None:
    """S093, S129: even an edition whose lines let a machine accept answers `human_needed` for such names and heavy tiers."""
    check = NameCheck(why=["reserved_term"], terms=["北京"], kinds=["place"])

    class Here:
        caller = Caller(kind="backend")

    for found, by_tier in ((check, False), (None, True)):
        with pytest.raises(Refusal) as refused:
            require_human(Here(), found, [], by_tier=by_tier)  # type: ignore[arg-type]
        assert refused.value.code == "human_needed"
    require_human(Here(), None, [], by_tier=False)  # type: ignore[arg-type]
    files = dict(read_folder(POLICIES))
    line = b"account.accept-backend,allow,backend,account.accept,any,*,1,,platform-choice,A machine accepts\n"
    files["rules.csv"] += line
    loose = Policy.from_files(files)
    await alike(sunrise, "北京公安之窗")
    sunrise.app.state.door._sets._editions = type("Editions", (), {"at": lambda _, __: loose})()
    answer = await sunrise.app.state.door.act(
        AcceptAccount(account_id="b", compared_with=[]), caller=Caller(kind="backend")
    )
    assert answer.code == "human_needed"


async def test_names_that_wait_are_for_staff(sunrise: House) -> None:
    """S093: others' names are not told to who waits: neither by the list nor on his own account."""
    await alike(sunrise)
    for who in ("ben", "im", "reg"):
        await sunrise.refused("refused", who, "GET", CHECKS)
        await sunrise.refused("refused", who, "GET", f"{CHECKS}/b")
    await sunrise.refused("unknown", "cl", "GET", f"{CHECKS}/none")
    assert (await seen(sunrise, "b", "ben"))["name_check"]["beside"] == []
    assert (await seen(sunrise, "b", "cl"))["name_check"]["beside"][0]["name"] == "Sunrise Kitchen"


def test_the_threshold_is_a_parameter_within_bounds(policy: Policy) -> None:
    """S093: `name_similarity_review` may lie from 0.8 to 1; a malformed list of terms does not load, a missing one is empty."""
    files = dict(policy.files)
    old = b"name_similarity_review,0.85,"
    with pytest.raises(PolicyError) as refused:
        Policy.from_files(
            files | {"parameters.csv": files["parameters.csv"].replace(old, b"name_similarity_review,0.5,")}
        )
    assert "name_similarity_review is 0.5" in str(refused.value)
    for line, fault in (
        (b"x,state,account,\n", "is in too many names"),
        (b"xy,rival,account,\n", "kind 'rival' is unknown"),
        (b"xy,state,person,\n", "for 'person' is unknown"),
    ):
        with pytest.raises(PolicyError) as refused:
            Policy.from_files(files | {"names.csv": files["names.csv"] + line})
        assert fault in str(refused.value)
    del files["names.csv"]
    assert Policy.from_files(files).reserved == ()


async def test_a_name_of_the_registration_that_waits_is_compared_by_the_threshold(sunrise: House) -> None:
    """S093: at the threshold a name waits, just below it passes to the usual acceptance."""
    await alike(sunrise, "Sunrise Kitchexy")
    assert (await sunrise.do("cl", "GET", CHECKS))["names"][0]["beside"][0]["similarity"] >= 0.85
    below = await alike(sunrise, "Sunrise Kitxyzw", "c")
    assert "name_check" not in below["result"]
    await register(sunrise, "d", name="Entirely Other")


async def test_a_group_has_no_reserved_name(house: House) -> None:
    """S093: nobody looks at the name of a group, so a term of state, Party, army or media is refused at once; places are not."""
    await house.has_group("g", "ann", ("ben",))
    path = "/v1/groups/g/profile"
    problem = await house.refused("name_reserved", "ben", "PUT", path, {"name": "北京公安互助群"})
    assert (problem["pointer"], problem["data"]) == ("/name", {"kinds": ["state"]})
    await house.do("ben", "PUT", path, {"name": "北京美食群"})
    body = {"group_id": "h", "name": "cctv 粉丝", "class": "fan", "capacity": 50, "join_mode": "approval"}
    await house.refused("name_reserved", "ann", "POST", "/v1/groups", body)
    await house.do("ann", "POST", "/v1/groups", body | {"name": "追剧粉丝"})
    await house.do("im", "POST", "/v1/groups", body | {"group_id": "i", "owner_id": "ann"})
