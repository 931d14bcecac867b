"""How many examples a fuzzing test takes: few in CI, many with ``--hypothesis-profile=search``."""

from hypothesis import settings

USUAL = 100
"""Examples of the profile that CI runs with."""


def effort(examples):
    """Return settings for so many examples in CI, and as many times more as the profile has."""
    return settings(max_examples=examples * max(1, settings().max_examples // USUAL))
