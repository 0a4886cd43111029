"""Mutants of which it is shown that no test can notice them: (file, before, after)."""

EQUIVALENT: set[tuple[str, str, str]] = set()
