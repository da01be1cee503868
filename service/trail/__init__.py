"""The memory: what was done, refused and proposed, in bytes that can be proved later."""
