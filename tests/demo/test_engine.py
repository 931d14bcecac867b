"""The emulated engine: its arithmetic, and answers taken up where they broke."""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.modelserver.batch import ITERATION_S, REQUEST_S, Batch, Job, capacity_s
from examples.modelserver.engines import Generation, Settings, emulated
from examples.modelserver.resume import continue_answer
from examples.modelserver.service import generation
from examples.modelserver.v1 import model_server_pb2 as pb
from meshlb.errors import InvalidInputError


def test_one_request_takes_prefill_then_an_iteration_a_token():
    batch = Batch(speed=1.0, slots=4)
    batch.add(job := Job(80, 3, 0.0))
    first = ITERATION_S + REQUEST_S + 80 / 8000
    assert list(batch.advance(first - 1e-6)) == []
    assert list(batch.advance(first + 1e-6)) == [job]
    assert list(batch.advance(first + 2 * (ITERATION_S + REQUEST_S) + 1e-6)) == [job, job]
    assert job.done
    assert batch.ends is None


def test_speed_divides_every_time():
    ends = []
    for speed in (1.0, 0.25):
        batch = Batch(speed, slots=2)
        batch.add(Job(800, 1, 0.0))
        ends.append(batch.ends)
    assert ends[1] == pytest.approx(4 * ends[0])


def test_beyond_the_slots_requests_wait_in_line():
    batch = Batch(speed=1.0, slots=1)
    jobs = [Job(1, 2, 0.0) for _ in range(2)]
    for job in jobs:
        batch.add(job)
    made = [jobs.index(job) for job in batch.advance(1.0)]
    assert made == [0, 0, 1, 1]


def test_a_request_whose_caller_went_makes_room():
    batch = Batch(speed=1.0, slots=1)
    jobs = [Job(1, 1000, 0.0), Job(1, 1, 0.0)]
    for job in jobs:
        batch.add(job)
    batch.remove(jobs[0])
    assert list(batch.advance(1.0)) == [jobs[1]]


def test_capacity_is_what_a_full_batch_reaches():
    slots, count = 8, 400
    batch = Batch(speed=1.0, slots=slots)
    for _ in range(count):
        batch.add(Job(500, 40, 0.0))
    last = 0.0
    while batch.ends is not None:
        last = batch.ends
        list(batch.advance(last))
    assert last == pytest.approx(count * capacity_s(500, 40, slots), rel=0.1)


@given(
    st.lists(st.tuples(st.integers(1, 2000), st.integers(0, 20), st.floats(0, 5)), max_size=20),
    st.integers(1, 4),
)
def test_every_request_gets_its_tokens_and_no_more(wanted, slots):
    batch = Batch(speed=2.0, slots=slots)
    jobs = []
    for prompt, tokens, at in sorted(wanted, key=lambda one: one[2]):
        list(batch.advance(at))
        jobs.append(Job(prompt, tokens, at))
        batch.add(jobs[-1])
        assert len(batch.running) <= slots
    list(batch.advance(1e9))
    assert batch.ends is None
    assert all(job.done and job.made == job.tokens for job in jobs)


def test_an_answer_taken_up_again_is_the_same_answer():
    async def collect(wanted):
        engine = emulated.build(Settings(speed=50.0, piece_tokens=4))
        pieces = [piece async for piece in engine.generate(wanted)]
        await engine.close()
        return pieces

    whole = asyncio.run(collect(Generation("", 10, 60)))
    assert whole[-1].final
    assert not any(piece.final for piece in whole[:-1])
    assert sum(piece.tokens for piece in whole) == 60
    first = whole[0]
    rest = asyncio.run(collect(Generation("", 10, 60, first.text, first.tokens)))
    assert "".join(p.text for p in whole) == first.text + "".join(p.text for p in rest)


def test_an_embedding_has_length_one_and_frees_its_slot():
    async def embed():
        engine = emulated.build(Settings(speed=50.0, slots=1))
        values = [await engine.embed("", 100) for _ in range(3)]
        load = engine.load()
        await engine.close()
        return values, load

    values, load = asyncio.run(embed())
    assert all(sum(v * v for v in value) == pytest.approx(1.0) for value in values)
    assert load == (0, 0)


def piece(text, tokens, final=False):
    return pb.GenerateResponse(text=text, token_count=tokens, final=final)


def test_the_resume_hook_asks_for_the_rest():
    request = pb.GenerateRequest(prompt="p", max_token_count=10)
    rest = continue_answer(request, [piece("a ", 1), piece("b c ", 2)])
    assert (rest.prompt, rest.received_text, rest.received_count) == ("p", "a b c ", 3)
    assert (request.received_text, request.received_count) == ("", 0)
    again = continue_answer(rest, [piece("d ", 1)])
    assert (again.received_text, again.received_count) == ("a b c d ", 4)
    assert continue_answer(request, [piece("a", 9), piece("b", 1, True)]) is None


@pytest.mark.parametrize(
    ("request_", "fields"),
    [
        (pb.GenerateRequest(), ["max_token_count = 0"]),
        (pb.GenerateRequest(max_token_count=5, received_count=5), ["received_count = 5"]),
        (
            pb.GenerateRequest(max_token_count=9999, prompt_token_count=-1),
            ["max_token_count = 9999", "prompt_token_count = -1"],
        ),
    ],
)
def test_a_bad_request_names_every_bad_field(request_, fields):
    with pytest.raises(InvalidInputError) as caught:
        generation(request_)
    assert [fault.split(":")[0] for fault in caught.value.faults] == fields
