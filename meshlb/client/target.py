"""What a channel is pointed at: ``mesh://HOST:PORT[,HOST:PORT]/SERVICE``."""

from __future__ import annotations

from dataclasses import dataclass

from meshlb.checks import NAME, parse_address
from meshlb.errors import InvalidInputError

SHAPE = "mesh://HOST:PORT[,HOST:PORT]/SERVICE"


@dataclass(frozen=True, slots=True)
class Target:
    """Controllers, first choice first, and the service that they are asked for."""

    controllers: tuple[str, ...]
    service: str

    def __str__(self) -> str:
        return f"mesh://{','.join(self.controllers)}/{self.service}"


def parse(text: str) -> Target:
    """Return the target that a text names; InvalidInputError with all that is wrong with it."""
    if not isinstance(text, str) or not text.startswith("mesh://"):
        raise InvalidInputError(f"target = {text!r}: {SHAPE}", reason="INVALID_TARGET")
    hosts, slash, service = text.removeprefix("mesh://").partition("/")
    controllers = tuple(hosts.split(","))
    faults = []
    for controller in controllers:
        try:
            parse_address(controller)
        except InvalidInputError:
            faults.append(
                f"target = {text!r}: controller {controller!r} must be HOST:PORT or [IPV6]:PORT, "
                "port from 1 to 65535"
            )
    if not slash or not NAME.match(service):
        faults.append(
            f"target = {text!r}: service {service!r} must be 1 to 128 characters of "
            f"A-Z a-z 0-9 . _ - after the controllers, as in {SHAPE}"
        )
    if len(set(controllers)) < len(controllers):
        faults.append(f"target = {text!r}: a controller stands twice: each once")
    if faults:
        raise InvalidInputError(faults, reason="INVALID_TARGET")
    return Target(controllers, service)
