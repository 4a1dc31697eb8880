"""How many examples Hypothesis tries: a part of them in `make test`, all in `make test-slow`."""

from hypothesis import settings

FAST, FULL = "fast", "full"
_SHARE = 3  # of the examples are tried in `make test`; a fault that needs more is found by the slow suite
_LEAST = 25


def examples(full: int) -> int:
    """Return the number of examples under the profile in force, for `@settings(max_examples=...)`."""
    if settings.get_current_profile_name() == FULL:
        return full
    return min(full, max(_LEAST, full // _SHARE))
