"""One file per way to answer; the file's name is what ``--engine`` takes.

To write the next one: make ``NAME.py`` here with a docstring (what, why) and

    def build(settings) -> Engine

``build`` may take long (loading a model); MissingExtraError if something is not installed.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

PACKAGE = __name__


@dataclass(frozen=True, slots=True)
class Settings:
    """What the command line says to an engine; each takes what concerns it."""

    speed: float = 1.0
    """Times as fast as the reference; above 0. Emulated engines only."""
    slots: int = 16
    """Requests that run at once; the others wait in line. At least 1."""
    piece_tokens: int = 8
    """Tokens to a streamed message after the first, which goes alone. At least 1."""
    threads: int = 1
    """CPU threads of a real engine. At least 1."""


@dataclass(frozen=True, slots=True)
class Generation:
    """One answer that is wanted."""

    prompt: str
    prompt_tokens: int
    max_tokens: int
    """Tokens wanted in all, received ones included."""
    received_text: str = ""
    received: int = 0
    """Tokens that the caller has of a stream that broke."""


class Piece(NamedTuple):
    """The next tokens of an answer."""

    text: str
    tokens: int
    final: bool


class Load(NamedTuple):
    """Requests in an engine now."""

    running: int
    waiting: int


class Engine(Protocol):
    """Answers requests; lives in one asyncio loop. Dropping a call's iterator frees its slot."""

    def generate(self, wanted: Generation) -> AsyncIterator[Piece]:
        """Yield the answer from where it broke; the last piece is final."""

    async def embed(self, text: str, tokens: int) -> Sequence[float]:
        """Return a vector of length 1."""

    def load(self) -> Load:
        """Return what runs and waits now."""

    async def close(self) -> None:
        """Stop what runs."""
