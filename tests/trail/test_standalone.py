"""The verifier in one file: it needs Python and `cryptography`, and nothing of the service."""

import ast
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from service.trail import standalone
from service.trail.standalone import JoinError, build, source
from tests.trail.memory import EXAMPLE

PRELUDE = """
import runpy, sys
sys.path.append(sys.argv.pop(1))
runpy.run_path(sys.argv.pop(1), run_name="__main__")
"""


@pytest.fixture
def verifier(tmp_path) -> Path:
    path = tmp_path / "alone" / "verify.py"
    path.parent.mkdir()
    build(path)
    return path


def run(verifier: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Without site, environment and repository: only the packages folder, for `cryptography`."""
    command = [
        sys.executable,
        "-I",
        "-S",
        "-c",
        PRELUDE,
        sysconfig.get_path("platlib"),
        str(verifier),
        *arguments,
    ]
    return subprocess.run(command, capture_output=True, text=True, check=False, cwd=verifier.parent, env={})


def test_one_file_judges_alone(verifier, tmp_path):
    """Run away from the repository it accepts the worked example, and rejects it with one byte changed."""
    policy = str(EXAMPLE / "trust.json")
    done = run(verifier, str(EXAMPLE / "group-g1.bundle"), "--policy", policy, "--lang", "zh")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("ACCEPTED\n")
    assert "完整" in done.stdout
    broken = tmp_path / "broken"
    broken.write_bytes((EXAMPLE / "group-g1.bundle").read_bytes().replace(b"Li Wei", b"Li Wej"))
    done = run(verifier, str(broken), "--policy", policy)
    assert done.returncode == 2
    assert done.stdout.startswith("REJECTED E_FIELD: ")


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
