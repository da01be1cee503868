"""Makes the verifier one file, for a regulator to read whole and run alone.

It needs only Python and `cryptography`. The modules of the verifier are joined as they stand; only their imports of one another are left out.
"""

import argparse
import ast
from collections.abc import Iterator
from hashlib import sha256
from importlib.resources import files
from pathlib import Path
from typing import Final

MODULES: Final = (
    "record.py",
    "merkle.py",
    "note.py",
    "entry.py",
    "verify/verdict.py",
    "verify/trust.py",
    "verify/lines.py",
    "verify/shown.py",
    "verify/opening.py",
    "verify/references.py",
    "verify/records.py",
    "verify/steps.py",
    "verify/run.py",
)
"""Each imports only modules before it."""

_HEAD: Final = '''#!/usr/bin/env python3
"""The verifier of mandate-trail/1 evidence bundles in one file.

Needs Python 3.11 or newer and the package `cryptography`; no network, no service. Run it as

    python verify.py BUNDLE --policy trust.json [--state state.json]
        [--subject type:id] [--receipt FILE] [--lang en|zh]
"""

import importlib.util
import sys

if importlib.util.find_spec("cryptography") is None:
    print("verify: the package cryptography is missing; install it: pip install cryptography", file=sys.stderr)
    print("verify: 缺少软件包 cryptography，请先安装：pip install cryptography", file=sys.stderr)
    sys.exit(3)
'''
_TAIL: Final = """
if __name__ == "__main__":
    sys.exit(main())
"""


class JoinError(ValueError):
    """Two modules use one name for two things, or a module imports something that is not joined."""


def build(path: Path) -> str:
    """Write the standalone verifier to `path`; return its SHA-256 in hex, by which readers know that they have the same.

    Raises JoinError if the modules cannot stand in one file.
    """
    data = source().encode()
    path.write_bytes(data)
    return sha256(data).hexdigest()


def source() -> str:
    """The text of the standalone verifier."""
    folder = files("service.trail")
    parts = [_HEAD]
    owners: dict[str, str] = {}
    for module in MODULES:
        text = folder.joinpath(module).read_text(encoding="utf-8")
        tree = ast.parse(text)
        for name, owner in _named(tree, module):
            if owners.setdefault(name, owner) != owner:
                raise JoinError(f"{name} is one thing in {owners[name]}, another in {owner}")
        lines = text.splitlines()
        for start, end in _left_out(tree):
            lines[start - 1 : end] = [""] * (end - start + 1)
        body = "\n".join(lines).strip("\n")
        parts.append(f"\n\n# {'-' * 8} service/trail/{module} {'-' * 8}\n\n{body}\n")
    return "".join(parts) + _TAIL


def _named(tree: ast.Module, module: str) -> Iterator[tuple[str, str]]:
    """The names at the top of a module and where each comes from."""
    for item in tree.body:
        if isinstance(item, ast.FunctionDef | ast.ClassDef):
            yield item.name, module
        elif isinstance(item, ast.Assign):
            yield from ((target.id, module) for target in item.targets if isinstance(target, ast.Name))
        elif isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
            yield item.target.id, module
        elif isinstance(item, ast.ImportFrom) and not (item.module or "").startswith("service."):
            yield from ((name.asname or name.name, f"{item.module}.{name.name}") for name in item.names)
        elif isinstance(item, ast.Import):
            yield from ((name.asname or name.name, name.name) for name in item.names)


def _left_out(tree: ast.Module) -> list[tuple[int, int]]:
    """The lines of the imports of joined modules."""
    joined = {"service.trail." + module.removesuffix(".py").replace("/", ".") for module in MODULES}
    spans: list[tuple[int, int]] = []
    for item in tree.body:
        if isinstance(item, ast.ImportFrom) and (item.module or "").split(".")[0] == "service":
            if item.module not in joined or any(name.asname for name in item.names):
                raise JoinError(f"{item.module} cannot be joined so")
            spans.append((item.lineno, item.end_lineno or item.lineno))
    return spans


def main() -> None:
    """Write the file that the command line names, and say by which digest it is known."""
    parser = argparse.ArgumentParser(description="Write the verifier as one file.")
    parser.add_argument("path", type=Path)
    path: Path = parser.parse_args().path
    path.parent.mkdir(parents=True, exist_ok=True)
    digest = build(path)
    print(f"{path}  sha256 {digest}")  # noqa: T201  the answer of the command


if __name__ == "__main__":
    main()
