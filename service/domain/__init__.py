"""The nouns, in the order of their life; each imports only those that stand before it."""
