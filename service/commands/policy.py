"""Which actions `mandate policy check` holds a folder against."""

from __future__ import annotations


def known_actions() -> set[str]:
    """Every action of the house."""
    import service.app  # noqa: F401  imports every noun
    from service.action import actions

    return set(actions())
