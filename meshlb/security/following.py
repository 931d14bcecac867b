"""The newest good content of files that somebody replaces while we run.

Whoever replaces them need not do so at once: a pair that does not fit together, or half a file, is
kept out and told once, and the last good one goes on.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from meshlb.errors import InvalidInputError
from meshlb.security import own
from meshlb.security.material import Files, Material, read, signature

LOOK_EVERY_S = 1.0
LAST_PART = 0.1
"""Of a certificate's life: when no more is left, it is told that it should have been replaced."""
Note = Callable[[str, str], object]
"""Told an event ("certificates_changed", "certificates_not_taken", "certificate_ends"), and what
there is to say of it."""


class Following:
    """The newest good material of some files; safe to use from any thread."""

    def __init__(
        self,
        files: Files,
        note: Note,
        clock: Callable[[], float] = time.monotonic,
        wall: Callable[[], float] = time.time,
    ) -> None:
        """Read them now. Raises InvalidInputError if they cannot be used."""
        self.files = files
        self.generation = 0
        """Grows each time new files are taken into use."""
        self._note = note
        self._clock = clock
        self._wall = wall
        self._lock = threading.Lock()
        self._seen = signature(files.paths)
        self._looked_at = clock()
        self._material = read(files)
        self._problem = ""
        self._marks = own.marks(files, LAST_PART)
        self._tell_end()

    def current(self) -> Material:
        """Return the newest good material; looks at the files once a second at the most."""
        return self.newest()[1]

    def newest(self) -> tuple[int, Material]:
        """Return ``current``, and before it the generation that it is of."""
        with self._lock:
            now = self._clock()
            if now - self._looked_at >= LOOK_EVERY_S:
                self._looked_at = now
                self._look()
                self._tell_end()
            return self.generation, self._material

    def forked(self) -> None:
        """Begin anew in a child process."""
        self._lock = threading.Lock()

    def _look(self) -> None:
        seen = signature(self.files.paths)
        if seen == self._seen and not self._problem:
            return
        try:
            fresh = read(self.files)
        except InvalidInputError as error:
            if str(error) != self._problem:
                self._problem = str(error)
                self._note("certificates_not_taken", f"{error}; the last good one goes on")
            return
        self._seen, self._problem = seen, ""
        if fresh != self._material:
            self._material = fresh
            self.generation += 1
            self._marks = own.marks(self.files, LAST_PART)
            self._note("certificates_changed", ", ".join(self.files.paths))

    def _tell_end(self) -> None:
        """Say once that the certificate ends soon, and once that it has ended."""
        if self._marks and self._wall() >= self._marks[0][0]:
            _, text = self._marks.pop(0)
            self._note("certificate_ends", f"cert = {self.files.cert!r}: {text}")
