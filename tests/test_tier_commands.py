"""`mandate tiers`: what staff see and do without a console, against a served house."""

import asyncio
import csv
import io
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pytest

from service.commands.tiers import DIFFERING, LISTED, PLANS
from service.db import Embedded
from tests.kit import POLICIES
from tests.test_commands import Served, mandate

REF = "b2d0c6b1-6f0e-4d1c-9a53-7c1e84f2a905"


class Staff:
    """A served house with an operator and its accounts, and the keys to ask it."""

    def __init__(self, served: Served, tokens: dict[str, str], folder: Path) -> None:
        self.served, self.tokens, self.folder = served, tokens, folder
        self._number = 0

    def post(self, who: str, method: str, path: str, body: Any = None, *, person: str = "") -> Any:
        self._number += 1
        headers = {"authorization": f"Bearer {self.tokens[who]}", "idempotency-key": f"k{self._number}"}
        headers |= {"x-on-behalf-of": person} if person else {}
        answer = httpx.request(method, self.served.url + path, json=body or {}, headers=headers)
        assert answer.status_code < 300, answer.text
        return answer.json()

    def tiers(self, *args: str, who: str = "classifier") -> Any:
        """Run a command as somebody."""
        return mandate(
            "tiers",
            *args,
            MANDATE_URL=self.served.url,
            MANDATE_KEY=self.tokens[who],
            MANDATE_DATA=str(self.folder),
        )

    def read(self, *args: str) -> list[dict[str, Any]]:
        """What a command prints as JSON."""
        done = self.tiers(*args, "--output", "json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)


@pytest.fixture(scope="module")
def staff(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Staff]:
    folder = tmp_path_factory.mktemp("tiers") / "data"
    served = Served(folder)
    house = Staff(served, served.keys(), folder)
    verified = {"status": "verified", "methods": ["credit_code", "mobile"], "identity_ref": REF}
    house.post("im", "PUT", "/v1/people/ann", {"jurisdiction": "CN-130200"})
    house.post("im", "PUT", "/v1/people/ann/identity", verified | {"methods": ["mobile", "id_document"]})
    operator = {"operator_id": "o", "kind": "media", "name": "o", "jurisdiction": "CN-130200"}
    house.post("im", "POST", "/v1/operators", operator, person="ann")
    house.post("im", "PUT", "/v1/operators/o/identity", verified)
    for name in ("a", "b", "c"):
        account = {
            "account_id": name,
            "operator_id": "o",
            "name": f"name {name}",
            "class": "life",
            "jurisdiction": "CN-130200",
        }
        house.post("im", "POST", "/v1/accounts", account, person="ann")
        if name != "c":
            house.post("classifier", "POST", f"/v1/accounts/{name}/acceptance")
    house.post("im", "PATCH", "/v1/accounts/b", {"followers": 2_000_000})
    yield house
    if served.process.poll() is None:
        served.stop()


def test_lists_are_tables_json_and_csv(staff: Staff) -> None:
    """Accounts by tier, and those that wait for a human; CSV is RFC 4180 with a header; a table has a line for each."""
    done = staff.tiers("list", "--tier", "3", "--output", "csv")
    (row,) = csv.DictReader(io.StringIO(done.stdout))
    assert (row["account"], row["class"], row["tier"], row["state"]) == ("b", "life", "3", "accepted")
    assert tuple(row) == LISTED["account"]
    for args, columns in ((("list", "--kind", "group"), LISTED["group"]), (("plans",), PLANS)):
        empty = staff.tiers(*args, "--output", "csv").stdout
        assert empty.splitlines() == [",".join(columns)]
    assert [one["account_id"] for one in staff.read("list", "--state", "waiting")] == ["c"]
    assert "name a" in staff.tiers("list", "--class", "life").stdout
    assert staff.read("list", "--kind", "group") == []
    assert staff.read("list", "--override") == []


def test_a_tier_is_explained(staff: Staff) -> None:
    """S076, S077: every input with its points and floor, their sum, and the record that ranked it."""
    shown = staff.tiers("explain", "b").stdout
    assert "followers" in shown
    assert "34" in shown
    assert "Tier 3: computed 3" in shown
    (whole,) = staff.read("explain", "b")
    assert whole["tier_basis"]["floors"] == {"followers": 3}
    done = staff.tiers("explain", "c")
    assert (done.returncode, done.stderr) == (2, "mandate: account c was never ranked\n")


def test_a_folder_is_tried_before_anybody_adopts_it(staff: Staff, tmp_path: Path) -> None:
    """S078: who moves from which tier to which, by a folder on disk; a broken folder is named by file and line."""
    folder = Path(shutil.copytree(POLICIES, tmp_path / "next"))
    table = folder / "tiers.csv"
    table.write_text(table.read_text().replace("class,life,,4,", "class,life,,20,"))
    done = staff.tiers("preview", str(folder))
    assert "2 accounts; 0 keep their tier" in done.stdout, done.stderr
    (found,) = staff.read("preview", str(folder))
    assert [(one["from"], one["to"], one["samples"]) for one in found["moves"]] == [
        (1, 2, ["a"]),
        (3, 4, ["b"]),
    ]
    (one,) = staff.read("preview", "--id", "a", "--fact", "followers=1500000", "--fact", "quality=unknown")
    assert one["tier"] == 3
    assert "name_check human" in staff.tiers("preview", "--id", "a", "--override", "4").stdout
    table.write_text(table.read_text().replace("score,25..44,2,25", "score,26..44,2,26"))
    done = staff.tiers("preview", str(folder))
    assert done.returncode == 2
    assert "gap between 24 and 26" in done.stderr
    for args in (("--id", "a", "--fact", "followers"), ("--id", "a", "--fact", "followers=-1")):
        done = staff.tiers("preview", *args)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr


def test_all_are_ranked_again_by_command(staff: Staff) -> None:
    """S079: plan, run and its bar; a second person agrees; a plan that is done cannot be stopped."""
    (plan,) = staff.read("plan")
    assert (plan["state"], plan["counts"]["subjects"]) == ("planned", 2)
    asked = staff.tiers("run", plan["plan_id"], "--no-wait")
    approval = asked.stderr.split("/v1/approvals/")[1].split("/")[0]
    staff.post("approver", "POST", f"/v1/approvals/{approval}/grant")
    done = staff.tiers("run", plan["plan_id"])
    assert "done: 2 looked at, 0 changed" in done.stdout, done.stderr
    assert [one["state"] for one in staff.read("plans")] == ["done"]
    done = staff.tiers("stop", plan["plan_id"])
    assert (done.returncode, "not_in_state" in done.stderr) == (2, True)


def test_unlike_treatment_is_listed(staff: Staff) -> None:
    """S081: an override shows under its staff member, class and direction, and the subject among the unlike."""
    body = {"tier": 4, "until": "2099-01-01T00:00:00Z", "reason": "activity_unusual"}
    path = "/v1/accounts/a/override"
    now = staff.post(
        "classifier", "POST", "/v1/checks", {"action": "account.override_tier", "account_id": "a", **body}
    )
    assert now["code"] == "duration_over_limit"
    until = (
        f"{int(now['at'][:4]) + (now['at'][5:7] > '10')}-{(int(now['at'][5:7]) + 1) % 12 + 1:02}-01T00:00:00Z"
    )
    asked = staff.post("classifier", "PUT", path, body | {"until": until})
    staff.post("approver", "POST", f"/v1/approvals/{asked['result']['approval_id']}/grant")
    (count,) = staff.read("overrides")
    assert (count["staff_id"], count["class"], count["direction"], count["granted"]) == (
        "classifier",
        "life",
        "up",
        1,
    )
    assert [one["tier"] for one in staff.read("overrides", "--each")] == [4]
    assert [one["why"] for one in staff.read("consistency")] == ["override"]
    assert [one["id"] for one in staff.read("consistency", "--subjects")] == ["a"]


def test_what_is_stored_is_proved_from_the_database_alone(staff: Staff) -> None:
    """S078: 0 where every result comes out again; a changed one is named, and the exit code is 1."""
    done = staff.tiers("recompute")
    assert (done.returncode, "0 differ" in done.stdout) == (0, True), done.stdout + done.stderr

    async def change(dsn: str) -> None:
        connection = await asyncpg.connect(dsn)
        await connection.execute(
            "UPDATE account SET tier_basis = jsonb_set(tier_basis, '{score}', '1') WHERE account_id = 'b'"
        )
        await connection.close()

    with Embedded.start(staff.folder) as embedded:
        asyncio.run(change(embedded.owner_dsn))
    done = staff.tiers("recompute", "--output", "csv")
    (row,) = csv.DictReader(io.StringIO(done.stdout))
    assert list(row) == DIFFERING
    assert (done.returncode, row["id"], row["where"]) == (1, "b", "now")
    assert row["why"].startswith("score is 1, computed ")
