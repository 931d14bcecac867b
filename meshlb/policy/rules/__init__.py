"""One file per scaling rule; the file's name is the rule's kind in policies.

To write the next one: make ``NAME.py`` here with a docstring (what, why, formula, source), a frozen
``Params`` dataclass whose fields all have defaults, and

    def wants(inputs: Inputs, params: Params, name: str) -> tuple[Want, ...]

It looks at nothing but its arguments: no clock, no randomness, no state of its own, since every
decision is replayed from its record. A signal that it needs and that is missing gives a want of
verb None with the reason, never a count. ``Params`` may have a method ``faults() -> list[str]``
that says what is wrong with its values, each as "FIELD = VALUE: allowed range". In panic a rule is
asked a second time, with the panic window in the place of the stable one.

A file may say ``BOUNDS = True``: its AT_LEAST and AT_MOST are bounds in effect, applied last.
``OVERRIDES = True``: its SET takes the place of what all other rules computed.
``tests/contract`` finds the file by itself. Third parties use the entry-point group
``meshlb.rules``.
"""

from __future__ import annotations

from typing import Any, Protocol

from meshlb.scale_model import Inputs, Want


class Wants(Protocol):
    """The ``wants`` function of a rule's file."""

    def __call__(self, inputs: Inputs, params: Any, name: str) -> tuple[Want, ...]:
        """Return what the rule wants, under the name that it has in its policy."""
