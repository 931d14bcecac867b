"""Any configuration: all its faults are told, or it holds, shows itself and loads back the same."""

import contextlib
import random
import tomllib

from hypothesis import example, given
from hypothesis import strategies as st

from meshlb import settings
from meshlb.errors import InvalidInputError
from meshlb.policy.fleet import Fleet
from tests.fuzz.effort import effort
from tests.fuzz.messages import Bytes
from tests.fuzz.tables import configuration


def drive(choices):
    """Read a configuration of these choices; return whether it holds."""
    raw = configuration(Bytes(choices))
    try:
        read = settings.parse(raw)
    except InvalidInputError as error:
        return not error.faults
    shown = settings.to_toml(read)
    assert settings.parse(tomllib.loads(shown)) == read
    Fleet(read, "c", 1, 0.0).decide(1.0)
    for actuator in read.actuators.values():
        assert actuator.built() is not None
    return True


@given(st.binary(min_size=50, max_size=600))
@effort(150)
@example(random.Random(1).randbytes(2000))
def test_a_configuration_is_refused_with_its_faults_or_comes_back_as_it_is(choices):
    drive(choices)


def test_both_ways_are_tried():
    held = [drive(random.Random(seed).randbytes(300)) for seed in range(60)]
    assert 10 < sum(held) < 50


@given(st.text(max_size=200) | st.binary(max_size=200))
@effort(50)
def test_a_file_of_any_content_is_refused_or_read(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode("utf-8", "replace"))
    with contextlib.suppress(InvalidInputError):
        settings.load(path)
