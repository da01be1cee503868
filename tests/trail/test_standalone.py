"""The verifier in one file: it needs Python and `cryptography`, and nothing of the service."""

import ast
import hashlib
import json
import subprocess
import sys
from importlib.metadata import distribution
from pathlib import Path

import pytest

from service.trail import standalone
from service.trail.note import COSIGNATURE, Signer
from service.trail.standalone import JoinError, build, source
from tests.trail.memory import EXAMPLE, SECOND, T0, MemoryLog, bundle_of, digest

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


def shell(verifier: Path, arguments: str, **env: str) -> subprocess.CompletedProcess[bytes]:
    """The verifier as a shell runs it, with what the shell does to its output."""
    command = ["sh", "-c", f'"$0" "$1" {arguments}', sys.executable, str(verifier)]
    return subprocess.run(command, capture_output=True, check=False, cwd=EXAMPLE, env=env)


def test_its_help_is_for_every_terminal(verifier: Path) -> None:
    """What a terminal that is not UTF-8 cannot show is escaped there, and the rest can be read."""
    for encoding in ("ascii", "cp1252", "latin-1", "utf-8:strict"):
        done = shell(verifier, "--help", PYTHONIOENCODING=encoding)
        assert (done.returncode, done.stderr) == (0, b"")
        assert b"Check an evidence bundle offline." in done.stdout
        assert ("核验" in done.stdout.decode("utf-8", "replace")) == encoding.startswith("utf-8")


@pytest.mark.parametrize("where", [">&-", ">/dev/full"])
def test_a_verdict_that_cannot_be_written_is_none(verifier: Path, where: str) -> None:
    """Exit code 3 and one line say so, whatever the verdict: nobody has read it."""
    assert shell(verifier, "group-g1.bundle --policy trust.json").returncode == 0
    done = shell(verifier, f"group-g1.bundle --policy trust.json {where}")
    assert (done.returncode, done.stdout) == (3, b"")
    assert done.stderr.startswith(b"verify: the verdict cannot be written: ")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize(
    ("name", "said", "code"),
    [
        # No note may hold an escape, so there is nothing of this log to accept, but the trust file is told of.
        ("x\x1b[1A\x1b[2KACCEPTED", "x\\x1b[1A\\x1b[2KACCEPTED", 2),
        ("x\x9b1A\u202eACCEPTED", "x\\x9b1A\\u202eACCEPTED", 0),
    ],
)
@pytest.mark.parametrize("lang", ["en", "zh"])
def test_no_name_in_a_trust_file_moves_the_cursor(
    verifier: Path, tmp_path: Path, name: str, said: str, code: int, lang: str
) -> None:
    """The names of log, keys and witnesses are somebody else's: control characters in them are shown escaped."""
    log = MemoryLog(name, time_us=T0, seed="names")
    log.witness = Signer(name, digest("names witness"), COSIGNATURE)
    record, _ = log.draft(1, ["group:g1"], T0 + SECOND)
    log.record(record, T0 + SECOND)
    log.publish(T0 + 2 * SECOND, T0 // SECOND + 2)
    (tmp_path / "bundle").write_bytes(bundle_of(log))
    (tmp_path / "trust").write_text(json.dumps(log.policy()))
    done = shell(verifier, f"'{tmp_path}/bundle' --policy '{tmp_path}/trust' --lang {lang}")
    assert done.returncode == code
    lines = done.stdout.decode()
    assert all(one.isprintable() for one in lines.splitlines())
    # Origin and key of the trust file; and, where accepted, the key that signed and the witness.
    assert lines.count(said) == (2 if code else 4)


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
