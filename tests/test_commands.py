"""The command: what an operator sees at the first start, with a broken folder, and when handling keys."""

import csv
import io
import json
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import rich_click as click
from click.testing import CliRunner

from service.__main__ import main
from service.commands import filings, measures, tiers
from tests.conftest import Database
from tests.served import REPOSITORY, Served, mandate, plain


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("house") / "data"


@pytest.fixture(scope="module")
def tokens(folder: Path) -> dict[str, str]:
    """The keys of the first start."""
    first = Served(folder)
    tokens = first.keys()
    first.stop()
    return tokens


@pytest.fixture(scope="module")
def served(folder: Path, tokens: dict[str, str]) -> Iterator[Served]:
    """A later start on the same folder, which prints no key."""
    later = Served(folder)
    yield later
    assert "mk_" not in later.stop()


def test_the_first_start_founds_a_house_and_prints_its_keys_once(
    tokens: dict[str, str], served: Served
) -> None:
    """Head, two compliance, approver, moderator, classifier, auditor, regulator and one backend; the keys go on serving."""
    assert tokens.keys() == {
        "head", "compliance-1", "compliance-2", "approver", "moderator", "classifier", "auditor", "regulator", "im",
    }  # fmt: skip
    for token in (tokens["im"], tokens["auditor"]):
        headers = {"authorization": f"Bearer {token}"}
        assert httpx.get(f"{served.url}/v1/editions/current", headers=headers).status_code == 200
    assert "mk_" not in "".join(served.lines)


def test_what_is_said_of_another_postgresql_does_not_reach_the_embedded_one(tmp_path: Path) -> None:
    """PG… variables of the operator's own database neither stop the migration nor lead the service elsewhere."""
    elsewhere = {
        "PGHOST": "127.0.0.1", "PGPORT": "1", "PGUSER": "nobody", "PGDATABASE": "none", "PGHOSTADDR": "127.0.0.1",
        "PGSSLMODE": "verify-full", "PGSERVICE": "none", "PGOPTIONS": "-c none=1",
    }  # fmt: skip
    Served(tmp_path, **elsewhere).stop()


@pytest.mark.slow
def test_a_start_on_a_kept_folder_is_quick(served: Served) -> None:
    """An existing data folder is served within three seconds on an idle machine; here it may have company."""
    assert served.seconds < 9
    assert httpx.get(f"{served.url}/health/ready").status_code == 200


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            "group.mute-owner,allow,owner,group.mute",
            "group.mute-owner,alow,owner,group.mute",
            "effect 'alow'",
        ),
        ("group.mute-owner,allow,owner,group.mute", "group.mute-owner,allow,ownr,group.mute", "ownr"),
    ],
)
def test_a_broken_policy_folder_stops_the_start(
    tmp_path: Path, folder: Path, tokens: dict[str, str], old: str, new: str, words: str
) -> None:
    """Each fault is one line with file, line and cure; exit code 2; no door opens, though an edition was adopted before."""
    broken = tmp_path / "policies"
    shutil.copytree(REPOSITORY / "policies", broken)
    rules = (broken / "rules.csv").read_text(encoding="utf-8")
    assert old in rules
    (broken / "rules.csv").write_text(rules.replace(old, new, 1), encoding="utf-8")
    line = 1 + rules[: rules.index(old)].count("\n")
    for data in (tmp_path / "new", folder):
        done = mandate("serve", "--port", "0", MANDATE_DATA=str(data), MANDATE_POLICIES=str(broken))
        assert done.returncode == 2
        assert "serving" not in done.stdout
        assert re.search(rf"rules\.csv:{line}: .*{words}.*; ", done.stderr), done.stderr
        assert "Traceback" not in done.stderr


def test_policy_is_read_on_the_command_line(tmp_path: Path) -> None:
    """Check knows every action, explain answers one cell, diff lists what changes."""
    assert mandate("policy", "check").stdout.startswith("no faults; edition ")
    other = tmp_path / "policies"
    shutil.copytree(REPOSITORY / "policies", other)
    rules = (other / "rules.csv").read_text(encoding="utf-8")
    (other / "rules.csv").write_text(rules.replace(",group.mute,", ",group.mutes,"), encoding="utf-8")
    failed = mandate("policy", "check", str(other))
    assert failed.returncode == 1
    assert "action 'group.mutes' is unknown" in failed.stderr
    assert "has no allowing line" not in failed.stderr  # that only follows
    (other / "rules.csv").write_text(
        rules.replace("key.issue,any,*,2,", "key.issue,any,*,3,"), encoding="utf-8"
    )
    assert "key.issue" in mandate("policy", "diff", "policies", str(other)).stdout
    cell = ("--standing", "admin", "--action", "group.mute", "--relation", "lower", "--tier", "2")
    assert "group.mute-admin" in mandate("policy", "explain", *cell).stdout


def test_keys_are_handled_through_the_api(tmp_path: Path, tokens: dict[str, str], served: Served) -> None:
    """List, issue, rotate and revoke; the token is printed once, the service never sees it, and two people agree."""
    file = tmp_path / "key"
    file.write_text(tokens["compliance-1"] + "\n")
    mine = ("keys", "--url", served.url, "--key-file", str(file))

    def agree(approval: str) -> None:
        headers = {"authorization": f"Bearer {tokens['approver']}", "idempotency-key": f"yes-{approval}"}
        path = f"{served.url}/v1/approvals/{approval}/grant"
        assert httpx.post(path, headers=headers).status_code == 200

    def status(token: str) -> int:
        return httpx.get(
            f"{served.url}/v1/editions", headers={"authorization": f"Bearer {token}"}
        ).status_code

    issued = mandate(
        *mine, "issue", "app", "--family", "edition", "--family", "group", "--tier", "2", "--output", "json"
    )
    (asked,) = json.loads(issued.stdout)
    assert asked["approval"] in issued.stderr
    assert status(asked["token"]) == 401
    agree(asked["approval"])
    assert status(asked["token"]) == 200

    rotating = subprocess.Popen(
        [sys.executable, "-m", "service", *mine, "rotate", "app", "--output", "json"],
        cwd=REPOSITORY, env=plain(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    headers = {"authorization": f"Bearer {tokens['compliance-1']}"}
    waiting: list[dict[str, Any]] = []
    for _ in range(100):
        waiting = httpx.get(f"{served.url}/v1/approvals?state=open", headers=headers).json()["items"]
        if waiting:
            break
        time.sleep(0.1)
    assert status(asked["token"]) == 200
    agree(waiting[0]["approval_id"])
    out, err = rotating.communicate(timeout=30)
    (fresh,) = json.loads(out)
    assert (rotating.returncode, fresh["key"]) == (0, "app-2"), err
    assert (status(asked["token"]), status(fresh["token"])) == (401, 200)

    listed = {one["key_id"]: one for one in json.loads(mandate(*mine, "list", "--output", "json").stdout)}
    assert listed["app-2"]["families"] == ["edition", "group"]
    assert listed["app-2"]["tiers"] == [2]
    assert listed["app"]["revoked_at"] is not None
    table = mandate(*mine, "list").stdout
    assert "app-2" in table
    assert fresh["token"] not in table
    assert mandate(*mine, "revoke", "app-2").stdout == "app-2 is revoked.\n"
    assert status(fresh["token"]) == 401


def test_what_goes_wrong_with_keys_is_one_line(
    tmp_path: Path, tokens: dict[str, str], served: Served
) -> None:
    """Exit code 2 and one line that says what to do: no key, no service, a refusal."""
    shown = {"MANDATE_KEY": tokens["auditor"], "MANDATE_URL": served.url}
    for args, env, words in [
        (("list",), {}, "MANDATE_KEY"),
        (("--key-file", str(tmp_path / "none"), "list"), {}, "cannot read"),
        (("--url", "http://127.0.0.1:1", "list"), shown, "does not answer"),
        (("--url", "ftp://x", "list"), shown, "no http address"),
        (("revoke", "app"), shown, "refused: refused"),
        (("list",), shown | {"MANDATE_KEY": "mk_wrong"}, "refused: key_invalid"),
        (("rotate", "nobody"), shown, "no key nobody"),
    ]:
        done = mandate("keys", *args, **env)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
        assert words in done.stderr


def test_the_filing_register_is_read_by_command(served: Served, tokens: dict[str, str]) -> None:
    """S213: `filings missing` lists what is in force and was not lodged, as table, JSON and CSV; lodged, it is in `filings list`."""
    env = {"MANDATE_URL": served.url, "MANDATE_KEY": tokens["compliance-1"]}
    as_json = json.loads(mandate("filings", "missing", "--output", "json", **env).stdout)
    assert {one["document"] for one in as_json} >= {"group_rules", "user_agreement"}
    as_csv = list(csv.DictReader(io.StringIO(mandate("filings", "missing", "--output", "csv", **env).stdout)))
    assert [one["document"] for one in as_csv] == [one["document"] for one in as_json]
    assert "group_rules" in mandate("filings", "missing", **env).stdout
    lodged = {
        "document": "group_rules",
        "document_version": "1",
        "authority": "北京市互联网信息办公室",
        "receipt": "京网备 2026-0117",
        "filed_at": "2026-10-20T00:00:00Z",
        "jurisdiction": "CN-110000",
    }
    headers = {"authorization": f"Bearer {env['MANDATE_KEY']}", "idempotency-key": "filing"}
    assert httpx.post(f"{served.url}/v1/filings", json=lodged, headers=headers).status_code == 201
    assert "group_rules" not in mandate("filings", "missing", **env).stdout
    [filed] = json.loads(mandate("filings", "list", "--output", "json", **env).stdout)
    assert filed["receipt"] == lodged["receipt"]
    wrong = mandate("filings", "missing", **(env | {"MANDATE_KEY": "mk_wrong"}))
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)


def test_measures_and_the_dormant_are_listed_by_command(served: Served, tokens: dict[str, str]) -> None:
    """`measures list` and `measures dormant` print tables, JSON and CSV; what does not go together, or is refused, is one line."""
    env = {"MANDATE_URL": served.url, "MANDATE_KEY": tokens["auditor"]}
    assert mandate("measures", "list", **env).stdout == "No such measure.\n"
    assert mandate("measures", "dormant", "--stage", "warned", **env).stdout == "No account is dormant.\n"
    for args in (("list", "--code", "P_FIELD_SUSPEND", "--ended"), ("dormant",)):
        assert json.loads(mandate("measures", *args, "--output", "json", **env).stdout) == []
        (header,) = csv.reader(io.StringIO(mandate("measures", *args, "--output", "csv", **env).stdout))
        assert "measure_id" in header
    wrong = mandate("measures", "list", "--code", "NOPE", **env)
    assert (wrong.returncode, wrong.stdout, wrong.stderr.count("\n")) == (2, "", 1)
    assert "no measure NOPE" in wrong.stderr
    assert "P_FIELD_SUSPEND" in wrong.stderr
    assert mandate("measures", "list", "--at", "2026-11-02T08:00:00Z", "--ended", **env).returncode == 2
    wrong = mandate("measures", "dormant", **(env | {"MANDATE_KEY": "mk_wrong"}))
    assert (wrong.returncode, wrong.stderr.count("\n")) == (2, 1)


def test_names_that_wait_are_listed_by_command(served: Served, tokens: dict[str, str]) -> None:
    """S093: `names waiting` puts each name beside those it looks like, with similarity and why; a change of profile stands in the
    same list; `--by` and `--most` take a part of it.
    """
    asked = iter(range(100))

    def post(who: str, method: str, path: str, body: Any) -> Any:
        headers = {"authorization": f"Bearer {tokens[who]}", "idempotency-key": f"names-{next(asked)}"}
        headers |= {"x-on-behalf-of": "ann"} if who == "im" and method == "POST" else {}
        answer = httpx.request(method, served.url + path, json=body, headers=headers)
        assert answer.status_code < 300, answer.text
        return answer.json()

    env = {"MANDATE_URL": served.url, "MANDATE_KEY": tokens["classifier"]}
    assert mandate("names", "waiting", **env).stdout == "No name waits.\n"
    empty = mandate("names", "waiting", "--output", "csv", **env).stdout
    ref = "b2d0c6b1-6f0e-4d1c-9a53-7c1e84f2a905"
    verified = {"status": "verified", "methods": ["mobile", "id_document"], "identity_ref": ref}
    post("im", "PUT", "/v1/people/ann", {"jurisdiction": "CN-130200"})
    post("im", "PUT", "/v1/people/ann/identity", verified)
    operator = {"operator_id": "o", "kind": "media", "name": "唐山某某", "jurisdiction": "CN-130200"}
    post("im", "POST", "/v1/operators", operator)
    post("im", "PUT", "/v1/operators/o/identity", verified | {"methods": ["credit_code", "mobile"]})
    account = {"operator_id": "o", "class": "life", "jurisdiction": "CN-130200"}
    for name, title in (("a", "Sunrise Kitchen"), ("b", "Sunrise Kitchem"), ("c", "北京 Moonlight Bakery")):
        post("im", "POST", "/v1/accounts", account | {"account_id": name, "name": title})
    post("classifier", "POST", "/v1/accounts/a/acceptance", {})
    renamed = {
        "authorization": f"Bearer {tokens['im']}",
        "idempotency-key": "rename",
        "x-on-behalf-of": "ann",
    }
    body = {"name": "中国 Sunrise"}
    assert httpx.put(f"{served.url}/v1/accounts/a/profile", json=body, headers=renamed).status_code == 200

    rows = list(csv.DictReader(io.StringIO(mandate("names", "waiting", "--output", "csv", **env).stdout)))
    assert empty.splitlines() == [",".join(rows[0])]
    assert [(row["account"], row["asked by"]) for row in rows] == [
        ("a", "profile"),
        ("b", "registration"),
        ("c", "registration"),
    ]
    looks = ("name", "looks like", "similarity", "of account", "which is", "why", "terms")
    assert [rows[1][name] for name in looks] == [
        "Sunrise Kitchem", "Sunrise Kitchen", "0.9286", "a", "accepted", "look_alike", "",
    ]  # fmt: skip
    assert [rows[2][name] for name in looks] == [
        "北京 Moonlight Bakery",
        "",
        "",
        "",
        "",
        "reserved_term",
        "北京",
    ]
    table = mandate("names", "waiting", **env).stdout
    assert "Sunrise Kitchem" in table
    assert "0.9286" in table
    (whole,) = json.loads(mandate("names", "waiting", "--by", "profile", "--output", "json", **env).stdout)
    assert (whole["name"], whole["kinds"]) == ("中国 Sunrise", ["state"])
    (first,) = json.loads(mandate("names", "waiting", "--most", "1", "--output", "json", **env).stdout)
    assert first == whole
    for wrong in ({"MANDATE_KEY": "mk_wrong"}, {"MANDATE_KEY": tokens["im"]}):
        refused = mandate("names", "waiting", **(env | wrong))
        assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)


@pytest.mark.parametrize(
    ("columns", "schema"),
    [
        (filings.LODGED, "FilingView"),
        (filings.MISSING, "Unfiled"),
        (measures.DORMANT, "DormantView"),
        (tiers.ODD, "Odd"),
        (tiers.DEVIATIONS, "Deviation"),
        (tiers.OVERRIDDEN, "Overridden"),
        (tiers.COUNTED, "OverrideCount"),
    ],
)
def test_an_empty_list_has_the_columns_of_a_full_one(columns: list[str], schema: str) -> None:
    """The header of a CSV without rows names what the API says of each item, in its order."""
    described = json.loads((REPOSITORY / "openapi" / "openapi.json").read_bytes())["components"]["schemas"]
    (found,) = [one for name, one in described.items() if name.rpartition(".")[2] == schema]
    assert list(columns) == list(found["properties"])


@pytest.mark.parametrize(
    "args",
    [
        ("tiers", "recompute"),
        ("webhooks", "list"),
        ("keys", "trail", "list"),
        ("checkpoint", "request", "file"),
        ("new-log",),
    ],
)
def test_what_looks_makes_no_house(args: tuple[str, ...], tmp_path: Path) -> None:
    """In a folder that holds no house, a mistyped one, commands that need one say so in a line, and make nothing there."""
    nowhere = tmp_path / "nowhere"
    done = mandate(*args, MANDATE_DATA=str(nowhere))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1), done.stderr
    assert f"no house in {nowhere}" in done.stderr
    assert "MANDATE_DATA" in done.stderr
    assert not nowhere.exists()


STAFF = (
    "--staff",
    "ho=head_of_content_safety",
    "--staff",
    "wu=compliance@wu-at-home",
    "--staff",
    "li=approver",
)


@pytest.mark.anyio
async def test_a_database_of_ones_own_is_founded_once(database: Database, tmp_path: Path) -> None:
    """`found` appoints who is named and prints the keys; a second time it does nothing and says so."""
    env = {"MANDATE_DSN": database.service_dsn, "MANDATE_DATA": str(tmp_path / "data")}
    done = mandate("found", *STAFF, "--backend", "im", "--output", "json", **env)
    assert [one["key"] for one in json.loads(done.stdout)] == ["ho", "wu", "li", "im"], done.stderr
    again = mandate("found", *STAFF, **env)
    assert (again.returncode, again.stderr.count("\n")) == (2, 1)
    assert "there is staff already" in again.stderr


@pytest.mark.parametrize(
    ("staff", "words"),
    [
        (["wu=compliance", "li=approver"], "exactly one head_of_content_safety"),
        (["ho=head_of_content_safety", "wu=compliance"], "two must agree"),
        (["ho=head_of_content_safety", "a=approver", "b=approver"], "two must agree"),
        (["ho=head_of_content_safety", "wu=compliance@ann", "li=approver@ann"], "two must agree"),
        (["ho=head", "wu=compliance"], "write ID=STANDING"),
        (["ho=head_of_content_safety", "wu=compliance", "wu=approver"], "named twice"),
        (["ho ho=head_of_content_safety", "wu=compliance", "li=approver"], "write ID=STANDING"),
        (["ho=head_of_content_safety", "wu=compliance", "li=approver,regulator"], "a regulator only reads"),
        (
            ["ho=head_of_content_safety", "wu=compliance@ann", "li=approver", "r=regulator@ann"],
            "no other staff id",
        ),
    ],
)
def test_a_house_where_nobody_could_agree_is_not_founded(
    tmp_path: Path, staff: list[str], words: str
) -> None:
    """S211, S190: the post is held, two people can agree, and no regulator is one of them; else one line and exit code 2."""
    args = [part for one in staff for part in ("--staff", one)]
    env = {"MANDATE_DSN": "postgresql://u@127.0.0.1:1/m", "MANDATE_DATA": str(tmp_path)}
    done = mandate("found", *args, **env)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert words in done.stderr


@pytest.mark.parametrize(
    "dsn",
    ["127.0.0.1:notaport/x", "127.0.0.1:5432/x?sslmode=foo", "[::1/x"],
)
def test_an_address_that_is_none_is_one_line(tmp_path: Path, dsn: str) -> None:
    """What cannot be read as a database's address stops the start, and nothing of it is repeated."""
    env = {
        "MANDATE_DSN": f"postgresql://user:secret@{dsn}",
        "MANDATE_DATA": str(tmp_path),
        "MANDATE_WORKERS": "1",
    }
    done = mandate("serve", "--port", "0", **env)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert done.stderr.startswith("mandate: dsn: ")
    assert "secret" not in done.stderr


def commands(
    found: click.Command, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with the words that call it."""
    yield path, found
    if isinstance(found, click.Group):
        context = click.Context(found)
        for name in found.list_commands(context):
            inner = found.get_command(context, name)
            assert inner is not None
            yield from commands(inner, (*path, name))


def test_every_command_explains_itself() -> None:
    """--help of every command says what it does in a sentence, and what each of its options is for."""
    every = dict(commands(main))
    assert {("keys", "issue"), ("names", "waiting"), ("work", "requests")} <= set(every)
    for path, command in every.items():
        if path == ("verify",):
            continue  # hands all it is given, --help too, to the verifier that stands alone
        shown = CliRunner().invoke(main, [*path, "--help"], env={"COLUMNS": "200"})
        assert (shown.exit_code, "Usage" in shown.output) == (0, True), path
        first = str(command.help).split("\n\n")[0].strip()
        assert first.removesuffix(" For example:").endswith((".", ")")), (path, first)
        unexplained = [one.name for one in command.params if isinstance(one, click.Option) and not one.help]
        assert unexplained == [], path


@pytest.mark.parametrize("args", [(), ("keys",), ("found",), ("verify",)])
def test_help_needs_nothing(args: tuple[str, ...]) -> None:
    """--help needs neither key nor database, as a process of its own."""
    shown = mandate(*args, "--help")
    assert (shown.returncode, "sage" in shown.stdout) == (0, True), shown.stderr
