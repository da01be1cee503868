"""Public accounts: their registration, facts and tier (domain.md (c) Account, (d) Accounts)."""
