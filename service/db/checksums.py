"""Note the digests of new migrations in migrations/SHA256SUMS; a line once written is never changed.

An applied migration that is edited would leave old databases and new ones different under the same number.
"""

import sys
from pathlib import Path

from service.db.migrations import digests
from service.settings import shipped


def noted(folder: Path | None = None) -> dict[str, str]:
    """Return SHA-256 by file name, as written down."""
    file = (folder or shipped("migrations")) / "SHA256SUMS"
    lines = file.read_text(encoding="ascii").splitlines() if file.exists() else []
    return {name: digest for digest, name in (line.split("  ", 1) for line in lines)}


def complaints(folder: Path | None = None) -> list[str]:
    """Return what is wrong, one sentence each: edited, removed or not yet noted files."""
    written, present = noted(folder), digests(folder)
    found = [
        f"{name} was edited after it was noted: write a new migration instead"
        if name in present
        else f"{name} was removed, but databases have applied it"
        for name, digest in written.items()
        if present.get(name) != digest
    ]
    return found + [f"{name} is new: run make checksums" for name in present if name not in written]


def note(folder: Path | None = None) -> list[str]:
    """Append the digests of new files and return their names."""
    written, present = noted(folder), digests(folder)
    new = [name for name in present if name not in written]
    with ((folder or shipped("migrations")) / "SHA256SUMS").open("a", encoding="ascii") as file:
        file.writelines(f"{present[name]}  {name}\n" for name in new)
    return new


if __name__ == "__main__":
    for added in note():
        sys.stdout.write(f"noted {added}\n")
    sys.exit("\n".join(complaints()) or 0)
