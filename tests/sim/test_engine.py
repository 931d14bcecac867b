"""The simulated engine: the demo's arithmetic, and Erlang's."""

import math
import random
import statistics

import pytest

from examples.modelserver.batch import Batch, Job
from meshlb.errors import InvalidInputError
from meshlb.sim.scale.engine import Call, Engine, EngineParams, load_params


def finish_times(params, requests):
    """Run requests (arrival, prompt, tokens), in order, through one engine."""
    engine = Engine(params)
    calls = [Call(at, prompt, tokens, 0.0) for at, prompt, tokens in requests]
    for call in calls:
        while engine.ends is not None and engine.ends < call.arrived:
            engine.advance()
        engine.add(call, call.arrived)
    while engine.ends is not None:
        engine.advance()
    return [call.done_at for call in calls]


def demo_times(slots, requests):
    batch = Batch(1.0, slots)
    jobs = [Job(prompt, tokens, at) for at, prompt, tokens in requests]
    done = {}
    for job in jobs:
        while batch.ends is not None and batch.ends < job.arrived:
            ended = batch.ends
            done |= {id(one): ended for one in batch.advance(ended) if one.done}
        batch.add(job)
    while batch.ends is not None:
        ended = batch.ends
        done |= {id(one): ended for one in batch.advance(ended) if one.done}
    return [done[id(job)] for job in jobs]


@pytest.mark.parametrize("seed", range(6))
def test_it_takes_as_long_as_the_demos_engine(seed):
    rng = random.Random(seed)
    at = 0.0
    requests = []
    for _ in range(300):
        at += rng.expovariate(2.0 + seed)
        requests.append((at, rng.choice([1, 90, 512, 1024, 1155, 4000]), rng.randint(0, 500)))

    assert finish_times(EngineParams(), requests) == pytest.approx(
        demo_times(16, requests), abs=1e-6
    )


@pytest.mark.parametrize("request_", [(1, 1), (512, 1), (513, 7), (1155, 211), (0, 0)])
def test_unloaded_time_is_that_of_a_request_alone(request_):
    params = EngineParams()

    assert finish_times(params, [(0.0, *request_)]) == pytest.approx([params.unloaded_s(*request_)])


def erlang_c(load, slots):
    """Chance to wait in M/M/c with ``load`` busy servers in the mean."""
    top = load**slots / math.factorial(slots) * slots / (slots - load)
    return top / (sum(load**k / math.factorial(k) for k in range(slots)) + top)


def exponentials(mean, count, rng):
    """Return draws whose distribution, taken together, is exact: their order alone is random."""
    draws = [-mean * math.log(1.0 - (i + 0.5) / count) for i in range(count)]
    rng.shuffle(draws)
    return draws


def batch_waits(rate, mean_s, slots, count, seed):
    """Return times in line of Poisson calls with exponential work at steady speed."""
    iteration_s = mean_s / 10_000
    params = EngineParams(iteration_s, 0.0, 1e12, 1_000_000, slots)
    rng = random.Random(seed)
    engine = Engine(params)
    at = 0.0
    waits = []
    gaps = exponentials(1.0 / rate, count, rng)
    for gap, work in zip(gaps, exponentials(10_000.0, count, rng), strict=True):
        at += gap
        tokens = 1 + int(work)
        while engine.ends is not None and engine.ends < at:
            waits += [(c.done_at - c.arrived - c.limit_s) for c in engine.advance()]
        engine.add(Call(at, 1, tokens, params.unloaded_s(1, tokens)), at)
    return waits


@pytest.mark.timeout(600)  # 600,000 calls each: a busy machine may take its time
@pytest.mark.parametrize(("slots", "load"), [(1, 0.5), (4, 2.4), (16, 12.8)])
def test_waiting_is_within_3_percent_of_erlang_c(slots, load):
    mean_s = 1.0
    waits = []
    for seed in range(6):
        waits += batch_waits(load / mean_s, mean_s, slots, 100_000, seed)

    expected = erlang_c(load, slots) * mean_s / (slots - load)
    assert statistics.fmean(waits) == pytest.approx(expected, rel=0.03)
    part = sum(wait > 0.001 for wait in waits) / len(waits)
    assert part == pytest.approx(erlang_c(load, slots), rel=0.03)


def test_a_parameter_file_is_read_and_checked(tmp_path):
    path = tmp_path / "engine.toml"
    path.write_text("iteration_s = 0.02\nslots = 8\n")

    assert load_params(path) == EngineParams(iteration_s=0.02, slots=8)

    path.write_text("slots = 0\nspeed = 2\nrequest_s = true\n")
    with pytest.raises(InvalidInputError) as caught:
        load_params(path)
    assert len(caught.value.faults) == 3
    assert "slots = 0: a whole number from 1 to 100000" in str(caught.value)
