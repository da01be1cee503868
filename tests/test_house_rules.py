"""The house is what it says of itself: its tree, its rooms' sizes, its policy, its ways of saying no."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from service.action import actions
from service.app import create_app
from service.db import DatabaseUnavailable, Db
from service.errors import Code
from service.policy import Policy, PolicyError
from service.settings import Settings
from tests.conftest import REPOSITORY
from tests.kit import POLICIES, House

#: Files that are long on purpose. A file that has become shorter leaves the list.
LONG = {
    "service/api/effects.py": "a list of what backends are told",
    "tests/api/test_account_life.py": "one account from its first profile to its end",
    "tests/api/test_accounts.py": "a table of one noun's refusals",
    "tests/test_house.py": "a list of house rules",
    "tests/test_policy.py": "a list of what a policy may not say",
    "tests/trail/test_verify.py": "one bundle for each code of the verifier",
}
LINES = 450


def files(*under: str) -> list[Path]:
    """The checkout's own files: what git tracks, or in an unpacked archive what is there."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", *under],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    if listed.returncode:
        found = (path for folder in under or (".",) for path in (REPOSITORY / folder).rglob("*"))
        return [
            one.relative_to(REPOSITORY) for one in found if one.is_file() and "__pycache__" not in one.parts
        ]
    names = (Path(name) for name in listed.stdout.split("\0") if name)
    return [name for name in names if (REPOSITORY / name).is_file()]


def tree_of(readme: str) -> list[str]:
    """The paths named in the tree of a README: the fenced block that has a line for `service/`."""
    blocks = re.findall(r"^```\w*\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
    [block] = [one for one in blocks if re.search(r"^service/", one, re.MULTILINE)]
    paths: list[str] = []
    above: list[tuple[int, str]] = []
    for line in block.splitlines():
        depth = len(line) - len(line.lstrip())
        above = [(one, path) for one, path in above if one < depth]
        prefix = above[-1][1] if above else ""
        for word in line.split():
            if not re.fullmatch(r"\.?[\w-]+(/|\.\w+)", word):
                break
            paths.append(prefix + word)
            if word.endswith("/"):
                above.append((depth, prefix + word))
                break
    return paths


def test_the_tree_in_the_readme_is_the_tree_of_the_checkout() -> None:
    """Every path named there exists, and every folder at the top and of service/ is named, as is every file of service/."""
    named = tree_of((REPOSITORY / "README.md").read_text(encoding="utf-8"))
    assert [one for one in named if not (REPOSITORY / one).exists()] == []
    assert len(set(named)) == len(named)
    here = files()
    folders = {f"{one.parts[0]}/" for one in here if len(one.parts) > 1}
    folders |= {
        f"service/{one.parts[1]}/" for one in here if one.parts[0] == "service" and len(one.parts) > 2
    }
    rooms = {str(one) for one in here if one.parent == Path("service") and one.suffix == ".py"}
    assert folders | rooms - {"service/__init__.py"} <= set(named)


def test_a_tree_that_has_drifted_is_noticed() -> None:
    """The reader of trees sees folders in folders, several files on a line, and what is not there."""
    block = "text\n\n```\ntests/     the promises\nservice/   the program\n  api/     REST\n    one.py\n  a.py b.py\n  door.py  THE DOOR\n```\n"
    assert tree_of(block) == [
        "tests/",
        "service/",
        "service/api/",
        "service/api/one.py",
        "service/a.py",
        "service/b.py",
        "service/door.py",
    ]


def test_no_file_is_too_long_to_read() -> None:
    """No Python file has more than 450 lines, but those that say why; each of these is still that long."""
    long = {
        str(one)
        for one in files("service", "tests", "bench")
        if one.suffix == ".py" and len((REPOSITORY / one).read_text(encoding="utf-8").splitlines()) > LINES
    }
    assert long == set(LONG)


def test_only_the_door_appends(tmp_path: Path) -> None:
    """Contract `appending`: a copy in which a room but the door imports append is refused by the import rules."""
    for name in ("service", "pyproject.toml"):
        copy = shutil.copytree if (REPOSITORY / name).is_dir() else shutil.copy
        copy(REPOSITORY / name, tmp_path / name)
    check = [
        str(REPOSITORY / ".venv" / "bin" / "lint-imports"),
        "--no-logo",
        "--no-cache",
        "--contract",
        "appending",
    ]
    if not Path(check[0]).exists():
        check[0] = str(shutil.which("lint-imports"))
    kept = subprocess.run(check, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert kept.returncode == 0, kept.stdout
    for room in ("sweep", "founding", "api/health"):
        path = tmp_path / "service" / f"{room}.py"
        whole = path.read_text(encoding="utf-8")
        path.write_text(whole + "\nfrom service.trail.append import append\n", encoding="utf-8")
        broken = subprocess.run(check, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert (broken.returncode, "service.trail.append" in broken.stdout) == (1, True), broken.stdout
        path.write_text(whole, encoding="utf-8")


# Policy and actions


def test_actions_and_policy_lines_cover_each_other(tmp_path: Path) -> None:
    """An action without a line, and a line without an action, stop the start."""
    create_app(Settings(dsn="postgresql://nobody@localhost/none"))
    known = list(actions())
    lines = {line.action for line in Policy.from_folder(POLICIES, actions=known).lines}
    assert lines >= set(known)
    shutil.copytree(POLICIES, tmp_path / "policies")
    rules = tmp_path / "policies" / "rules.csv"
    whole = rules.read_text(encoding="utf-8")
    rules.write_text(
        "".join(one for one in whole.splitlines(keepends=True) if ",group.mute," not in one), "utf-8"
    )
    with pytest.raises(PolicyError, match=r"group\.mute"):
        Policy.from_folder(tmp_path / "policies", actions=known)
    rules.write_text(whole.replace(",group.mute,", ",group.mutter,", 1), "utf-8")
    with pytest.raises(PolicyError, match=r"group\.mutter"):
        Policy.from_folder(tmp_path / "policies", actions=known)


def test_every_action_is_asked_for_in_some_test() -> None:
    """Each governed action is named by a test, or a test sends what its route takes."""
    app = create_app(Settings(dsn="postgresql://nobody@localhost/none"))
    routes = {
        handler.opt["action"]: handler.opt.get("path", route.path_format)
        for route in app.routes
        for handler in getattr(route, "route_handlers", ())
        if "action" in handler.opt
    }
    tests = "\n".join(
        one.read_text(encoding="utf-8")
        for one in (REPOSITORY / "tests").rglob("test_*.py")
        if one != Path(__file__)
    )
    unasked: list[str] = []
    for name, kind in actions().items():
        tail = [part for part in routes.get(kind, "").split("/") if part and "{" not in part][-1:]
        if not (name in tests or kind.__name__ in tests or any(f"/{part}" in tests for part in tail)):
            unasked.append(name)
    assert unasked == []


# Ways of saying no


def test_every_refusal_is_raised_and_tested() -> None:
    """Each code is raised somewhere in the service, and some test expects it."""
    raising = "\n".join(
        one.read_text(encoding="utf-8")
        for one in (REPOSITORY / "service").rglob("*.py")
        if one.name != "errors.py"
    )
    expecting = "\n".join(one.read_text(encoding="utf-8") for one in (REPOSITORY / "tests").rglob("*.py"))
    assert [code.value for code in Code if not re.search(rf"\bCode\.{code.name}\b", raising)] == []
    assert [
        code.value
        for code in Code
        if f'"{code.value}"' not in expecting and f"Code.{code.name}" not in expecting
    ] == []


@pytest.mark.anyio
async def test_a_read_without_database_and_one_that_breaks(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A database out of reach is 503 `database_unavailable`, an error of ours 500 `internal`; neither says more."""

    def away(*_: object, **__: object) -> None:
        raise DatabaseUnavailable("a secret of the house")

    def wrong(*_: object, **__: object) -> None:
        raise RuntimeError("a secret of the house")

    assert (await house.ask("mo", "GET", "/v1/groups")).status_code == 200
    with monkeypatch.context() as broken:
        broken.setattr(Db, "read", away)
        problem = await house.refused("database_unavailable", "mo", "GET", "/v1/groups")
        assert problem["status"] == 503
        assert "secret" not in str(problem)
    with monkeypatch.context() as broken:
        broken.setattr(Db, "read", wrong)
        problem = await house.refused("internal", "mo", "GET", "/v1/groups")
        assert problem["status"] == 500
        assert "secret" not in str(problem)
