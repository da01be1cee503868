"""The API's description: it equals the routes, every route is in it, and strangers' tools can live by it."""

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from jsonschema_rs import Draft202012Validator
from litestar import Litestar
from schemathesis.specs.openapi.definitions import OPENAPI_31_VALIDATOR

from service.action import action_name, actions
from service.api.acting import decoded
from service.api.documentation import document
from service.api.examples import ANSWERS
from service.app import create_app
from service.policy import Policy
from service.settings import Settings
from tests.kit import House

REPOSITORY = Path(__file__).resolve().parents[1]
FILE = REPOSITORY / "openapi" / "openapi.json"
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
IDS = {"standing": "moderator", "subject_type": "person"}
ASK_AGAIN = "run: make examples"


@pytest.fixture(scope="module")
def app() -> Litestar:
    return create_app(Settings(dsn="postgresql://nobody@localhost/none"))


@pytest.fixture(scope="module")
def described(app: Litestar) -> dict[str, Any]:
    return msgspec.json.decode(msgspec.json.encode(document(app)))


def operations(described: dict[str, Any]) -> list[tuple[str, str, dict[str, Any]]]:
    return [
        (path, method, operation)
        for path, item in described["paths"].items()
        for method, operation in item.items()
        if method in {"get", "put", "post", "delete", "patch"}
    ]


def governed(app: Litestar) -> list[Any]:
    found = {id(one): one for route in app.routes for one in getattr(route, "route_handlers", ())}
    return [one for one in found.values() if "action" in one.opt]


def test_the_kept_file_is_what_the_routes_say(described: dict[str, Any]) -> None:
    """openapi/openapi.json equals the app; `make openapi` writes it. Its changelog knows its version."""
    assert json.loads(FILE.read_bytes()) == described, "run: make openapi"
    assert f"## {described['info']['version']}" in (FILE.parent / "CHANGELOG.md").read_text(encoding="utf-8")


def test_the_document_is_openapi_3_1(described: dict[str, Any]) -> None:
    """The published schema of OpenAPI 3.1 finds no fault."""
    assert described["openapi"].startswith("3.1")
    assert [str(error) for error in OPENAPI_31_VALIDATOR.iter_errors(described)] == []


def test_every_route_is_described_once(app: Litestar, described: dict[str, Any]) -> None:
    """No route is left out, and every operation has its own id."""
    routes = {
        (re.sub(r":\w+", "", route.path), method)
        for route in app.routes
        for method in getattr(route, "methods", ())
        if method != "OPTIONS"
    }
    assert {(path, method.upper()) for path, method, _ in operations(described)} == routes
    ids = [operation["operationId"] for _, _, operation in operations(described)]
    assert len(set(ids)) == len(ids)


def test_every_action_that_may_be_asked_for_has_one_route(app: Litestar, described: dict[str, Any]) -> None:
    """Whoever but time may do something by the shipped rules finds exactly one operation of its name; time needs none."""
    lines = Policy.from_folder(app.state.settings.policies).lines
    asked_for = {line.action for line in lines if line.standing != "sweep"} & actions().keys()
    ids = [operation["operationId"] for _, _, operation in operations(described)]
    assert {name: ids.count(name) for name in asked_for} == dict.fromkeys(asked_for, 1)
    routed = [action_name(one.opt["action"]) for one in governed(app)]
    assert [one.operation_id for one in governed(app)] == routed
    assert set(routed) <= asked_for


def test_every_example_body_decodes(app: Litestar) -> None:
    """What the document shows as a body is accepted by the action it is for."""
    for route in governed(app):
        given = {name: IDS.get(name, "x-1") for name in route.opt["parameters"]}
        decoded(route.opt["action"], msgspec.json.encode(route.opt["example"]), given)


def test_every_operation_says_what_a_caller_must_know(described: dict[str, Any]) -> None:
    """Each has a summary, an example of every body and answer, the key it needs, and every error as a problem document."""
    shared = described["components"]["responses"]
    for path, method, operation in operations(described):
        where = f"{method} {path}"
        assert operation["summary"], where
        bodies = [operation["requestBody"]] if "requestBody" in operation else []
        answers = [one for one in operation["responses"].values() if "$ref" not in one]
        for part in (*bodies, *answers):
            for media in part.get("content", {}).values():
                assert media.get("examples"), f"{where} shows no answer; {ASK_AGAIN}"
        assert operation["responses"].keys() & {"200", "201", "204"}, where
        if operation["security"]:
            assert operation["responses"].keys() >= {"400", "401", "403", "404", "429", "503"}, where
        for status, response in operation["responses"].items():
            if "$ref" in response:
                name = response["$ref"].rpartition("/")[2]
                assert name.partition(".")[0] == f"Problem{status}", where
                assert list(shared[name]["content"]) == ["application/problem+json"]


def test_every_governed_operation_says_its_headers(app: Litestar, described: dict[str, Any]) -> None:
    """A write demands its request key, and may name a version, a person and a request id; 202 is a proposal."""
    by_id = {operation["operationId"]: operation for _, _, operation in operations(described)}
    for route in governed(app):
        operation = by_id[action_name(route.opt["action"])]
        headers = {one["$ref"].rpartition("/")[2] for one in operation["parameters"] if "$ref" in one}
        assert headers == {"Idempotency-Key", "If-Match", "X-On-Behalf-Of", "X-Request-Id"}
        assert operation["responses"].keys() >= {"202", "409", "410", "412", "413", "415", "422"}
        body = operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].rpartition("/")[2]
        assert body == operation["operationId"]
        assert described["components"]["schemas"][body]["additionalProperties"] is False


def test_an_act_that_comes_by_name_has_all_its_members(app: Litestar, described: dict[str, Any]) -> None:
    """What a batch and a check take is one of the acts by `action`: each with what its path and body name, and no more."""
    components = described["components"]
    every = Draft202012Validator({"components": components, "$ref": "#/components/schemas/CheckedAct"})
    many = Draft202012Validator({"components": components, "$ref": "#/components/schemas/Act"})
    for route in governed(app):
        act = {"action": action_name(route.opt["action"]), **route.opt["example"]}
        act |= {name: IDS.get(name, "x-1") for name in route.opt["parameters"]}
        taken = "checked_before" not in route.opt
        assert (every.is_valid(act), many.is_valid(act)) == (taken, taken), act
        assert every.is_valid(act | {"expected_version": 7}) == taken
        assert not every.is_valid(act | {"colour": "red"})
    read = {"action": "trail.read", "subject_type": "group", "subject_id": "g", "purpose": "a complaint"}
    assert (every.is_valid(read), many.is_valid(read)) == (True, False)
    mapping = components["schemas"]["CheckedAct"]["discriminator"]["mapping"]
    assert mapping.keys() == app.state.checked.members.keys()


def objects(part: Any) -> list[dict[str, Any]]:
    """Every schema of an object of which nothing else is said."""
    if isinstance(part, list):
        return [found for one in part for found in objects(one)]
    if not isinstance(part, dict):
        return []
    inside = [
        found for name, one in part.items() if name not in {"examples", "default"} for found in objects(one)
    ]
    bare = part.get("type") == "object" and "properties" not in part
    return [part, *inside] if bare else inside


def test_an_object_that_may_hold_anything_says_so(described: dict[str, Any]) -> None:
    """Tools take `type: object` alone for an object without members; a refusal in an answer is a problem document."""
    assert [one for one in objects(described) if "additionalProperties" not in one] == []
    schemas = described["components"]["schemas"]
    for schema, name in (("Receipt", "result"), ("Problem", "data"), ("TrailItem", "fields")):
        assert schemas[schema]["properties"][name]["additionalProperties"] is True
    problem = {"$ref": "#/components/schemas/Problem"}
    assert schemas["Because"]["properties"]["refusal"] == problem
    assert schemas["Check"]["properties"]["refusal"]["anyOf"] == [problem, {"type": "null"}]


@pytest.mark.anyio
async def test_every_page_may_be_as_long_as_described(house: House, described: dict[str, Any]) -> None:
    """Each `limit` names its true maximum and what holds without it: one more is refused, and so many are not."""
    await house.has_group("g", "ann")
    asked = []
    for path, method, operation in operations(described):
        for one in operation.get("parameters", ()):
            if one.get("name") != "limit":
                continue
            assert one["schema"]["default"] == 100, path
            at = path.replace("{subject_type}", "group").replace("{", "").replace("}", "")
            more = "&purpose=a+complaint" if operation["operationId"] == "trail.read" else ""
            needed = {named["name"] for named in operation["parameters"] if named.get("required")}
            more += "&kind=group" if "kind" in needed else ""
            who = "im" if operation["operationId"] == "changes" else "au"
            most = one["schema"]["maximum"]
            over = await house.refused("malformed", who, "GET", f"{at}?limit={most + 1}{more}")
            assert over["pointer"] == "limit", path
            told = (await house.ask(who, method.upper(), f"{at}?limit={most}{more}")).json()
            assert told.get("code") != "malformed", (path, told)
            asked.append(operation["operationId"])
    assert {"changes", "trail.read", "group.list"} <= set(asked)


def test_every_instant_is_described_as_one(described: dict[str, Any]) -> None:
    """Whatever is called as instants are (`…_at`, `until`, `since` …) says `format: date-time`, in bodies and in answers."""
    called = re.compile(r"(.+_)?(at|until|since)|held_from|valid_from")
    plain = [
        (schema, name)
        for schema, one in described["components"]["schemas"].items()
        for name, said in one.get("properties", {}).items()
        if called.fullmatch(name)
        for kind in (said, *said.get("anyOf", ()), *said.get("oneOf", ()))
        if kind.get("type") == "string" and kind.get("format") != "date-time"
    ]
    assert plain == []
    text = {"type": "string", "format": "date-time"}
    for schema in ("Receipt", "effect.group.muted", "GroupView"):
        name = "created_at" if schema == "GroupView" else "at"
        assert described["components"]["schemas"][schema]["properties"][name] == text


# Examples


def examples(described: dict[str, Any]) -> list[tuple[str, str, dict[str, Any], Any]]:
    """Every example of an answer: where it stands, its media type, its schema and its value."""
    components = described["components"]
    answers = [
        (f"{operation['operationId']} {status}", answer)
        for _, _, operation in operations(described)
        for status, answer in operation["responses"].items()
        if "$ref" not in answer
    ]
    found: list[tuple[str, str, dict[str, Any], Any]] = []
    for where, answer in (*answers, *components["responses"].items()):
        for media, content in answer.get("content", {}).items():
            for example in content.get("examples", {}).values():
                named = example.get("$ref", "").rpartition("/")[2]
                value = (components["examples"][named] if named else example)["value"]
                found.append((where, media, content["schema"], value))
    return found


def texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for one in value.values() for text in texts(one)]
    if isinstance(value, list):
        return [text for one in value for text in texts(one)]
    return [value] if isinstance(value, str) else []


def test_every_operation_shows_an_answer_that_the_service_gave(described: dict[str, Any]) -> None:
    """Each was asked, with success, and what is shown is what came; nothing is kept of operations there are no more."""
    heard = json.loads(ANSWERS.read_bytes())
    by_id = {operation["operationId"]: operation["responses"] for _, _, operation in operations(described)}
    assert by_id.keys() - heard.keys() == set(), ASK_AGAIN
    assert heard.keys() - by_id.keys() == set(), ASK_AGAIN
    for name, answers in heard.items():
        assert answers.keys() & {"200", "201", "202"}, f"{name} was never answered with success; {ASK_AGAIN}"
        assert answers.keys() <= by_id[name].keys(), f"{name} does not say all it answers"
        for status, kept in answers.items():
            if "$ref" not in (answer := by_id[name][status]):
                [content] = answer["content"].values()
                assert content["examples"]["usual"]["value"] == kept["answer"], "run: make openapi"


def test_every_example_of_an_answer_fits_its_schema(described: dict[str, Any]) -> None:
    """Whoever reads the examples reads what the schemas say: each JSON answer, each refusal, each text."""
    found = examples(described)
    assert {media for _, media, _, _ in found} >= {
        "application/json", "application/problem+json", "application/jsonl", "text/event-stream", "text/plain",
    }  # fmt: skip
    for where, _, schema, value in found:
        judge = Draft202012Validator({"components": described["components"], **schema})
        assert [error.message for error in judge.iter_errors(value)] == [], where


def test_every_problem_shown_is_one_of_its_status(described: dict[str, Any]) -> None:
    """The example of a refusal has the status of its answer, and the code its name says."""
    for name, answer in described["components"]["responses"].items():
        problem = answer["content"]["application/problem+json"]["examples"]["usual"]["value"]
        status, _, code = name.removeprefix("Problem").partition(".")
        assert (str(problem["status"]), problem["code"]) == (status, code or problem["code"])
        assert f"`{problem['code']}`" in answer["description"]


def test_no_example_is_a_stand_in_or_opens_anything(described: dict[str, Any]) -> None:
    """No value is the word "text"; no token of a key is shown, and of a tag key too little to be of use."""
    for where, _, _, value in examples(described):
        for text in texts(value):
            assert text != "text", where
            assert not re.search(r"mk_[A-Za-z0-9_-]{20}", text), where
            assert not re.search(r"\bPRIVATE\+KEY|PRIVATE KEY", text), where
    heard = json.loads(ANSWERS.read_bytes())
    shown = [len(one) for one in heard["trust.read"]["200"]["answer"]["tag_keys"].values()]
    assert shown
    assert max(shown) < 8


@pytest.mark.anyio
async def test_the_document_is_served_to_everybody(house: House, described: dict[str, Any]) -> None:
    """No key is needed to read what the API is, and it says nothing else than the file."""
    answer = await house.client.get("/openapi.json")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["paths"] == described["paths"]


@pytest.mark.anyio
async def test_every_path_says_its_methods(house: House, described: dict[str, Any]) -> None:
    """OPTIONS, and a method that a path does not take, name the same: all there are, and HEAD where GET is."""
    for path, item in described["paths"].items():
        methods = {method.upper() for method in item if method in {"get", "put", "post", "delete", "patch"}}
        methods |= {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())
        asked = path.replace("{", "").replace("}", "")
        options = await house.client.request("OPTIONS", asked)
        wrong = await house.client.request("TRACE", asked)
        assert (options.status_code, options.content, wrong.status_code) == (204, b"", 405), path
        assert options.headers["x-request-id"]
        for answer in (options, wrong):
            assert set(answer.headers["allow"].split(", ")) == methods, path
    nowhere = await house.client.request("OPTIONS", "/v1/nothing")
    assert (nowhere.status_code, nowhere.json()["code"]) == (404, "not_found")


# Strangers' tools


@pytest.fixture(scope="module")
def generated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a client package made from the document alone."""
    folder = tmp_path_factory.mktemp("client")
    (folder / "config.yml").write_text("post_hooks: []\npackage_name_override: mandate_client\n")
    made = subprocess.run(
        [Path(sys.executable).parent / "openapi-python-client", "generate", "--path", str(FILE), "--meta", "none",
         "--config", str(folder / "config.yml"), "--output-path", str(folder / "mandate_client")],
        capture_output=True, text=True, timeout=120, check=False, cwd=folder,
    )  # fmt: skip
    assert made.returncode == 0, made.stdout + made.stderr
    return folder


@pytest.mark.anyio
@pytest.mark.slow
async def test_a_generated_client_drives_the_house(
    house: House, generated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A client made from the document alone mutes somebody, is refused with a problem, and reads a list."""
    monkeypatch.syspath_prepend(str(generated))
    client_of = importlib.import_module("mandate_client").AuthenticatedClient
    models = importlib.import_module("mandate_client.models")
    mute = importlib.import_module("mandate_client.api.group.group_mute")
    listing = importlib.import_module("mandate_client.api.staff.staff_list")
    await house.has_group("g", "ann", (), ("dan",))

    def client(who: str) -> Any:
        arguments = {"transport": httpx.ASGITransport(house.app)}  # type: ignore[arg-type]
        return client_of(base_url="http://mandate", token=house.tokens[who], httpx_args=arguments)

    body = models.GroupMute(person_id="dan", seconds=3600, reason="spam")
    for_ann = {"idempotency_key": "k-1", "x_on_behalf_of": "ann"}
    receipt = await mute.asyncio("g", client=client("im"), body=body, **for_ann)
    assert (type(receipt), receipt.outcome) == (models.Receipt, "done")
    problem = await mute.asyncio(
        "nowhere", client=client("im"), body=body, **for_ann | {"idempotency_key": "k-2"}
    )
    assert (type(problem), str(problem.code)) == (models.Problem, "unknown")
    page = await listing.asyncio(client=client("au"), standing="compliance")
    assert [one.staff_id for one in page.items] == ["co", "co2"]


@pytest.mark.slow
def test_schemathesis_finds_no_answer_that_is_not_described(tmp_path: Path) -> None:
    """Thrown at by a stranger's tool, with a backend's and with compliance's key, the service answers only what it says it
    answers: no server error, no undeclared status or media type, no body beside its schema.
    """
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MANDATE_")}
    serving = subprocess.Popen(
        [sys.executable, "-m", "service", "serve", "--port", "0"],
        cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env=environment | {"MANDATE_DATA": str(tmp_path / "data")},
    )  # fmt: skip
    try:
        assert serving.stdout is not None
        url, tokens = "", {}
        for line in serving.stdout:
            url = url or "".join(re.findall(r"http://\S+", line))
            if found := re.match(r"(\S+) .*\b(mk_\S+)", line):
                tokens[found[1]] = found[2]
            if url and "im" in tokens:
                break
        # What one act after another may hold is covered on each act's own path.
        own = ["--exclude-path", "/v1/batches", "--exclude-path", "/v1/checks"]
        runs: list[tuple[str, str, list[str]]] = [
            ("im", "examples,coverage", own),
            ("compliance-1", "examples,fuzzing", []),
        ]
        for who, phases, but in runs:
            thrown = subprocess.run(
                [Path(sys.executable).parent / "schemathesis", "run", f"{url}/openapi.json",
                 "--header", f"Authorization: Bearer {tokens[who]}", "--phases", phases,
                 "--max-examples", "3", "--workers", "1", "--seed", "1", "--generation-database", "none",
                 "--request-timeout", "20", "--suppress-health-check", "all", "--no-color",
                 "--checks", CHECKS, *but],
                cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False, env=environment,
            )  # fmt: skip
            assert thrown.returncode == 0, thrown.stdout[-60000:] + thrown.stderr[-2000:]
    finally:
        serving.terminate()
        serving.wait(10)
