"""Decisions, pure: no clock, no dice, no I/O. ``now`` and ``rng`` are arguments."""
