"""How soon is it ready on an existing data folder, and how much memory does it hold after 200,000 acts?

Run as `python -m bench.start [--acts 200000]`. Limits: 3 s, 250 MB.
"""

from __future__ import annotations

import argparse
import tempfile
import time
import urllib.request
from pathlib import Path

import psutil
import uvloop

from bench import actions
from bench.bulk import ITEMS, batches
from bench.house import Served, served, serving
from bench.load import run


def resident_mb(pid: int) -> float:
    """Resident memory of the largest process of a service, in MB."""
    service = psutil.Process(pid)
    return max(one.memory_info().rss for one in (service, *service.children())) / 1024**2


def load(house: Served, acts: int) -> None:
    """Do so many acts in batches."""
    figures = uvloop.run(run(house.port, batches(house, acts // ITEMS), connections=4, seconds=900))
    assert figures.statuses == {200: acts // ITEMS}, figures.statuses


def main() -> None:
    """Print the seconds to readiness and the memory, each beside its limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--acts", type=int, default=200_000, help="acts before memory is read")
    acts = parser.parse_args().acts
    actions.HOT_MEMBERS = ITEMS // actions.HOT + 2
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o711)
        with served(folder, groups=100, members=3) as house:
            actions.GROUPS = 100
            uvloop.run(actions.heat(house, capacity=ITEMS, one_owner=True))
            before = resident_mb(house.pid)
            load(house, acts)
            print(
                f"resident memory: {before:.0f} MB at start, {resident_mb(house.pid):.0f} MB after {acts} acts (limit 250)"
            )
            since = time.perf_counter()
            with serving(house.embedded.service_dsn, folder) as (port, _):
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/ready", timeout=5) as answer:
                    assert answer.status == 200
                print(
                    f"ready after {time.perf_counter() - since:.1f} s on a folder with {acts} acts (limit 3)"
                )


if __name__ == "__main__":
    main()
