"""Known answers of third parties, for the tests of trees, notes and records."""

import json
from pathlib import Path

import pytest

VECTORS = Path(__file__).parents[3] / "shared" / "vectors"


@pytest.fixture(scope="session")
def vectors():
    """The known answers of third parties, by file name; a test is skipped where they are missing."""

    def read(name: str):
        path = VECTORS / f"{name}.json"
        if not path.exists():
            pytest.skip("the shared vectors are not here")
        return json.loads(path.read_text())

    return read
