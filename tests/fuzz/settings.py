"""How many cases the fuzzers try.

The default is few and always the same, so that a run of the tests is quick and repeatable.
`FUZZ_EXAMPLES=N` tries N cases of each kind, other ones every time.
"""

import os

from hypothesis import HealthCheck, settings

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", "100"))
LONGEST = 2000  # characters of a message


def fuzz_settings() -> settings:
    """Settings for `@given`: the same cases in every default run."""
    return settings(
        max_examples=EXAMPLES,
        derandomize="FUZZ_EXAMPLES" not in os.environ,
        database=None,
        suppress_health_check=list(HealthCheck),
    )


def require_one_line(error: Exception) -> None:
    """A message for people: one line, and not a file's content."""
    assert "\n" not in str(error).strip()
    assert len(str(error)) < LONGEST
