"""Mandate: who may govern groups and public accounts, by which rule, and proof of what was done."""
