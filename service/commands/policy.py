"""Which actions `mandate policy check` holds a folder against."""

from __future__ import annotations


def known_actions() -> set[str]:
    """What this program does, and what the shipped rules speak of."""
    import service.app  # noqa: F401  imports every noun
    from service.action import actions
    from service.policy import Policy
    from service.settings import shipped

    return {*actions(), *(line.action for line in Policy.from_folder(shipped("policies")).lines)}
