"""Who owns a group, and how that changes: transfer in two steps, succession, and groups without an owner (S057-S073)."""
