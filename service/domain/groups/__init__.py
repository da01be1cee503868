"""Groups: their life, who is inside, and the order inside (domain.md (c) Group, (d) Groups)."""
