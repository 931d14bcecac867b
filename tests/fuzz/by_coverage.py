"""Fuzzing that follows coverage (atheris), for as long as one likes; not a test of CI.

    scripts/fuzz wire|client|configuration|channel|state --seconds 600 [--seed N] [--corpus FOLDER]

Inputs that reached new code stay in the corpus. One that raises what it should not is written to
the folder beside it as crash-*, and ends the run with a status that is not 0.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import logging
import sys
import tempfile
from pathlib import Path

import atheris

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))
MOST_STEPS, LONGEST = 30, 2000

with atheris.instrument_imports(include=["meshlb"], enable_loader_override=False):
    import structlog

    from meshlb import plugins, settings
    from meshlb.client import service_config, target
    from meshlb.controller.store import Store
    from meshlb.errors import InvalidInputError, MeshlbError
    from meshlb.v1 import balance_pb2
    from tests.fuzz import test_channel, test_client, test_settings, test_state
    from tests.fuzz.fleet_world import REQUESTS, Client, World
    from tests.fuzz.messages import Bytes

    for package in ("policy.rules", "policy.pickers", "policy.weights", "actuators"):
        for name in plugins.names(f"meshlb.{package}"):
            plugins.load(f"meshlb.{package}", name)


def wire(data: bytes) -> None:
    """Half of the inputs choose what is done to a fleet, half are messages as bytes."""
    world, source = World(), Bytes(data)
    if source.below(2):
        for _ in range(MOST_STEPS):
            if source.used_up:
                break
            world.step(source)
        world.decide()
        return
    rest = data[1:]
    while rest:
        name, size = tuple(REQUESTS)[rest[0] % 3], rest[1:2]
        part, rest = rest[2 : 2 + (size or b"\0")[0]], rest[2 + (size or b"\0")[0] :]
        with contextlib.suppress(Exception):  # no message at all: gRPC refuses it
            world.take(name, REQUESTS[name].FromString(part), 0)
        world.now += 0.1
    world.decide()


def client(data: bytes) -> None:
    """Likewise what a controller sends."""
    if data[:1] < b"\x80":
        test_client.drive(data[1:])
        return
    try:
        message = balance_pb2.WatchRoutesResponse.FromString(data[1:])
    except Exception:
        return
    one = Client()
    one.take(message)
    one.call(1.0)


def configuration(data: bytes) -> None:
    """TOML as bytes, or settings of any kind."""
    if data[:1] < b"\xc0":
        test_settings.drive(data[1:])
        return
    PLACE["file"].write_bytes(data[1:])
    with contextlib.suppress(InvalidInputError):
        settings.load(PLACE["file"])


def channel(data: bytes) -> None:
    """Options, service configs as JSON, targets."""
    if data[:1] < b"\xc0":
        test_channel.drive(data[1:])
        return
    text = data[1:].decode("utf-8", "replace")
    faults: list[str] = []
    service_config.read(text, faults)
    with contextlib.suppress(InvalidInputError):
        target.parse(text)


def state(data: bytes) -> None:
    """Rows of any content, or a damaged file."""
    test_state.drive(data, PLACE["state"], PLACE["empty"])


DRIVERS = {one.__name__: one for one in (wire, client, configuration, channel, state)}
PLACE = {}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=DRIVERS)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corpus", type=Path, default=ROOT / "build" / "fuzz")
    args = parser.parse_args()
    logging.disable(logging.CRITICAL)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    place = Path(tempfile.mkdtemp(prefix="fuzz "))
    PLACE.update(file=place / "any.toml", state=place / "any.db", empty=b"")
    asyncio.run(Store(place / "empty.db", 60).close())
    PLACE["empty"] = (place / "empty.db").read_bytes()
    corpus = args.corpus / args.what
    corpus.mkdir(parents=True, exist_ok=True)
    drive = DRIVERS[args.what]

    def one_input(data: bytes) -> None:
        with contextlib.suppress(MeshlbError if args.what == "state" else ()):
            drive(data)

    options = [
        sys.argv[0], str(corpus), f"-max_total_time={args.seconds}", f"-seed={args.seed}",
        f"-max_len={LONGEST}", f"-artifact_prefix={args.corpus}/", "-print_final_stats=1",
        "-timeout=60", "-len_control=0",
    ]  # fmt: skip
    atheris.Setup(options, one_input)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
