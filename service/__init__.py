"""Mandate: decides, applies and records every act of governance over groups and public accounts."""
