"""Retention: legal holds, and what may be deleted when, by whom, leaving which trace (S199-S205, trail-format.md 9.1)."""
