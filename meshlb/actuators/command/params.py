"""What a configuration says of a program."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from meshlb.actuators.command.answer import is_text


@dataclass(frozen=True)
class Params:
    """``[service.NAME.actuator]`` with ``kind = "command"``. Times are seconds."""

    command: Sequence[str] = ()
    """Program and arguments; required. The verb, "observe" or "apply", is put behind them."""
    limit_s: float = 30.0
    """A run that takes longer is killed with all that it started; 0.1 to 3600."""
    observe_s: float = 5.0
    """Shortest time between two runs of "observe"; the last answer stands meanwhile. 0 to 3600."""
    chooses_victim: bool = True
    """It stops the very replicas that it is told to."""
    env: Mapping[str, str] = field(default_factory=dict)
    """Added to the environment."""
    cwd: str = ""
    """Folder to run in; empty: the controller's."""

    def faults(self) -> list[str]:
        """Return what is wrong, each as "FIELD = VALUE: allowed range"."""
        found = []
        command, env = self.command, self.env
        if isinstance(command, str) or not all(is_text(word) for word in command):
            found.append(f"command = {command!r}: a list of texts, the program first")
        elif not command or not command[0]:
            found.append(f"command = {list(command)!r}: a list of texts, the program first")
        if not isinstance(env, Mapping) or not all(map(is_text, [*env, *env.values()])):
            found.append(f"env = {env!r}: a table of texts")
        for name, least in (("limit_s", 0.1), ("observe_s", 0.0)):
            value = getattr(self, name)
            number = isinstance(value, (int, float)) and not isinstance(value, bool)
            if not number or not math.isfinite(value) or not least <= value <= 3600:
                found.append(f"{name} = {value!r}: from {least:g} to 3600")
        if not isinstance(self.chooses_victim, bool):
            found.append(f"chooses_victim = {self.chooses_victim!r}: true or false")
        if not is_text(self.cwd):
            found.append(f"cwd = {self.cwd!r}: a folder")
        return found
