"""The verifier in one file: it needs Python and `cryptography`, and nothing of the service."""

import ast
import hashlib
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest

from service.trail import standalone
from service.trail.standalone import JoinError, build, source
from tests.trail.memory import EXAMPLE

REPOSITORY = Path(__file__).resolve().parents[2]
PRELUDE = """
import runpy, sys
sys.path.append(sys.argv.pop(1))
runpy.run_path(sys.argv.pop(1), run_name="__main__")
"""


@pytest.fixture(scope="session")
def packages(tmp_path_factory) -> Path:
    """A packages folder as `pip install cryptography` leaves it in an empty environment, and nothing else of ours."""
    folder = tmp_path_factory.mktemp("packages")
    for name in ("cryptography", "cffi", "pycparser"):
        for file in distribution(name).files or ():
            target = folder / str(file)
            if ".." not in file.parts and not target.exists() and "__pycache__" not in file.parts:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(file.locate())
    return folder


@pytest.fixture
def verifier(tmp_path) -> Path:
    path = tmp_path / "alone" / "verify.py"
    path.parent.mkdir()
    build(path)
    return path


def run(verifier: Path, packages: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Without site, environment and repository: only the standard library, and the packages of this folder."""
    command = [
        sys.executable,
        "-I",
        "-S",
        "-c",
        PRELUDE,
        str(packages),
        str(verifier),
        *arguments,
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=verifier.parent, env={})


@pytest.mark.parametrize(
    ("lang", "complete", "altered"),
    [
        ("en", "COMPLETE, all 2 records", "A personal value was altered"),
        ("zh", "完整，全部 2 条记录", "个人信息被改动"),
    ],
)
def test_one_file_judges_alone(
    verifier: Path, packages: Path, tmp_path: Path, lang: str, complete: str, altered: str
) -> None:
    """S197: with Python and `cryptography` alone it accepts the worked example, and rejects it with one byte changed."""
    policy = str(EXAMPLE / "trust.json")
    done = run(verifier, packages, str(EXAMPLE / "group-g1.bundle"), "--policy", policy, "--lang", lang)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ACCEPTED\n")
    assert complete in done.stdout
    broken = tmp_path / "broken"
    broken.write_bytes((EXAMPLE / "group-g1.bundle").read_bytes().replace(b"Li Wei", b"Li Wej"))
    done = run(verifier, packages, str(broken), "--policy", policy, "--lang", lang)
    assert done.returncode == 2
    assert done.stdout.startswith("REJECTED E_FIELD: ")
    assert altered in done.stdout


def test_a_file_name_that_is_no_utf_8_is_shown_escaped(
    verifier: Path, packages: Path, tmp_path: Path
) -> None:
    """Section 10: what cannot be read is UNDECIDED with exit code 3, on one line, whatever bytes or lines its name holds."""
    bundle, trust = str(EXAMPLE / "group-g1.bundle"), str(EXAMPLE / "trust.json")
    folder = tmp_path / "d\udcff"
    folder.mkdir()
    for given, words in (
        (("no\udcff", "--policy", trust), "UNDECIDED E_FILE: The file cannot be read. (no\\xff)"),
        (("no\nACCEPTED", "--policy", trust), "UNDECIDED E_FILE: The file cannot be read. (no\\nACCEPTED)"),
        ((bundle, "--policy", "trust\udcff", "--lang", "zh"), "（trust\\xff）"),
        ((bundle, "--policy", trust, "--state", str(folder)), "(d\\xff)"),
        ((bundle, "--policy", trust, "--receipt", "r\udce9çu"), "(r\\xe9çu)"),
    ):
        done = run(verifier, packages, *given)
        assert (done.returncode, done.stderr) == (3, "")
        assert done.stdout.splitlines()[0].startswith("UNDECIDED ")
        assert done.stdout.splitlines()[0].endswith(words)


def test_without_cryptography_it_says_what_to_install(verifier: Path, tmp_path: Path) -> None:
    """In an interpreter with nothing installed it says in both languages what is missing; that judges nothing."""
    done = run(verifier, tmp_path, str(EXAMPLE / "group-g1.bundle"), "--policy", str(EXAMPLE / "trust.json"))
    assert (done.returncode, done.stdout) == (3, "")
    assert "pip install cryptography" in done.stderr
    assert "缺少" in done.stderr
    assert "Traceback" not in done.stderr


def test_make_writes_it_and_says_its_digest(tmp_path: Path) -> None:
    """`make verifier` writes the file, the same each time, and tells the digest by which readers can compare theirs."""
    [line] = [one for one in (REPOSITORY / "Makefile").read_text().splitlines() if "trail.standalone" in one]
    assert line.endswith("-m service.trail.standalone dist/verify.py")
    path = tmp_path / "dist" / "verify.py"
    command = [sys.executable, "-m", "service.trail.standalone", str(path)]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert path.read_text() == source()
    assert done.stdout == f"{path}  sha256 {hashlib.sha256(path.read_bytes()).hexdigest()}\n"


def test_it_imports_nothing_but_the_standard_library_and_cryptography():
    """No import of the service is left, and no package but `cryptography` is asked for."""
    found: set[str] = set()
    for item in ast.walk(ast.parse(source())):
        if isinstance(item, ast.Import):
            found.update(name.name.split(".")[0] for name in item.names)
        elif isinstance(item, ast.ImportFrom):
            found.add((item.module or "").split(".")[0])
    assert found - sys.stdlib_module_names == {"cryptography"}


def test_the_verifier_imports_only_what_is_joined():
    """Every module of the verifier is in the one file."""
    folder = Path(standalone.__file__).parent
    modules = {f"verify/{path.name}" for path in (folder / "verify").glob("*.py")}
    assert modules - set(standalone.MODULES) == {"verify/__init__.py", "verify/__main__.py"}


def test_one_name_for_two_things_is_refused(tmp_path, monkeypatch):
    """Modules that would change one another's names are not joined, nor those that import others."""
    (tmp_path / "a.py").write_text("X = 1\n")
    (tmp_path / "b.py").write_text("X = 2\n")
    (tmp_path / "c.py").write_text("from service.db import pool\n")
    monkeypatch.setattr(standalone, "files", lambda _: tmp_path)
    for modules in (("a.py", "b.py"), ("c.py",)):
        monkeypatch.setattr(standalone, "MODULES", modules)
        with pytest.raises(JoinError):
            source()
