"""A house that may post to this machine, and a receiver on it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.conftest import Database
from tests.kit import Founded, House
from tests.receiving import Receiver, in_a_closed_network, receiving


@pytest.fixture
async def house(database: Database, founded: Founded, tmp_path: Path) -> AsyncIterator[House]:
    async with in_a_closed_network(database, founded, tmp_path) as house:
        yield house


@pytest.fixture
async def receiver() -> Receiver:
    return Receiver()


@pytest.fixture
async def url(receiver: Receiver) -> AsyncIterator[str]:
    async with receiving(receiver) as url:
        yield url
