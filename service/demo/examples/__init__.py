"""The answers that the API's description shows: the story, and beside it what the story does not ask, heard over HTTP."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from service.demo import play
from service.demo.examples.accounts import account_scenes
from service.demo.examples.groups import group_scenes, orphan_adopted
from service.demo.examples.hearing import Hearing
from service.demo.examples.house import deletions, house_scenes, lifted
from service.demo.examples.refused import refused
from service.demo.step import Scene
from service.demo.story import STAFF, story
from service.founding import Founder

MORE_STAFF = [Founder("mo", ["moderator"])]


def scenes() -> list[Scene]:
    """The story up to its leap over five months, what it does not ask, that leap, and what can be asked after terms only."""
    *days, unused = story()
    return [
        *days,
        *group_scenes(),
        *account_scenes(),
        *house_scenes(),
        refused(),
        orphan_adopted(),
        unused,
        lifted(),
        *deletions(),
    ]


def write(paths: Mapping[str, Mapping[str, Any]], file: Path) -> bool:
    """Play it all and write what was answered; False, and nothing written, where something was not as expected.

    `paths` of the API's description. Raises DemoError, EmbeddedError, MigrationError.
    """
    hearing = Hearing(paths)
    if play.run(scenes=scenes(), staff=[*STAFF, *MORE_STAFF], hears=hearing):
        return False
    file.write_bytes(hearing.answers)
    return True
