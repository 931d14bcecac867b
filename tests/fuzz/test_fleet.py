"""Any messages in any order: the controller's mind stays whole, and what it tells can be used."""

from hypothesis import given
from hypothesis import strategies as st

from tests.fuzz.effort import effort
from tests.fuzz.fleet_world import World
from tests.fuzz.messages import Bytes

MOST_STEPS = 30


@given(st.binary(min_size=200, max_size=1000))
@effort(100)
def test_whatever_is_taken_or_refused_every_table_can_be_picked_from(choices):
    world, source = World(), Bytes(choices)
    for _ in range(MOST_STEPS):
        if source.used_up:
            break
        world.step(source)
    world.decide()
