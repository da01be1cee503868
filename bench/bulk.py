"""Does a batch of 1,000 acts pay? Limit: at least 3 times the rate of single acts asked one after another.

Run as `python -m bench.bulk [--seconds 6]`. Also prints the ratio to single acts over 64 connections, which meet in sets too.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from itertools import count
from pathlib import Path

import uvloop

from bench import actions
from bench.house import Served, served
from bench.load import request, run

ITEMS = 1_000
_numbers = count(1)


def batches(house: Served, number: int) -> list[bytes]:
    """Requests of 1,000 mutes each by the backend's person of one group with enough members."""
    requests = []
    for _ in range(number):
        n = next(_numbers)
        items = [
            {"action": "group.mute", "group_id": f"hot{i % actions.HOT}", "person_id": f"hot{i % actions.HOT}-p{1 + i // actions.HOT}",
             "seconds": 60 + n, "reason": "spam"}
            for i in range(ITEMS)
        ]  # fmt: skip
        headers = {
            "authorization": f"Bearer {house.tokens['im']}",
            "x-on-behalf-of": "hot0-p0",
            "idempotency-key": f"bulk-{n}",
        }
        requests.append(request("POST", "/v1/batches", headers, json.dumps({"items": items}).encode()))
    return requests


def main() -> None:
    """Print singles one by one, singles over 64 connections, and batches."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=6.0, help="length of each run")
    seconds = parser.parse_args().seconds
    # One owner of all the hot groups, and enough members for 1,000 different targets.
    actions.HOT_MEMBERS = ITEMS // actions.HOT + 2
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o711)
        with served(Path(name), groups=2_000, members=3) as house:
            actions.GROUPS = 2_000
            uvloop.run(actions.heat(house, capacity=ITEMS, one_owner=True))
            singles = actions.loaded(house, 1, seconds)
            side_by_side = actions.loaded(house, 64, seconds)
            bulk = uvloop.run(
                run(house.port, batches(house, int(seconds * 12)), connections=1, seconds=seconds)
            )
            assert set(bulk.statuses) == {200}, bulk.statuses
            rate = bulk.rate * ITEMS
            print(f"singles, one after another: {singles.rate:7.0f}/s")
            print(f"singles, 64 connections:    {side_by_side.rate:7.0f}/s")
            print(
                f"batches of {ITEMS}:           {rate:7.0f} acts/s; {rate / singles.rate:.1f} of singles in turn (limit 3), "
                f"{rate / side_by_side.rate:.1f} of singles over 64"
            )


if __name__ == "__main__":
    main()
