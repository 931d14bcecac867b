"""The demo's load: sizes as published, traces read strictly."""

import itertools
import random
import statistics

import pytest

from examples.demo import workload
from examples.demo.workload import ANSWERS, PROMPTS, Arrival, Mix, parse_trace, poisson, replay
from meshlb.errors import InvalidInputError

HEAD = "arrival_s,context_tokens,generated_tokens"


@pytest.mark.parametrize("sizes", [PROMPTS, ANSWERS, workload.EMBEDDED])
def test_sizes_have_the_published_mean_median_and_tail(sizes):
    steps = 100_000
    values = [sizes.quantile((i + 0.5) / steps) for i in range(steps)]
    assert values == sorted(values)
    assert statistics.fmean(values) == pytest.approx(sizes.mean, rel=0.002)
    assert values[steps // 2] == pytest.approx(sizes.p50, rel=0.01)
    assert values[steps * 99 // 100] == pytest.approx(sizes.p99, rel=0.01)


def test_arrivals_come_at_the_rate_and_repeat_with_the_seed():
    calls = list(poisson(random.Random(1), 50.0, 100.0, Mix()))
    assert calls == list(poisson(random.Random(1), 50.0, 100.0, Mix()))
    assert len(calls) == pytest.approx(5000, rel=0.05)
    assert all(a.at_s <= b.at_s for a, b in itertools.pairwise(calls))
    embeds = sum(not call.answer_tokens for call in calls)
    assert embeds / len(calls) == pytest.approx(workload.EMBED_PART, abs=0.03)


def test_trace_columns_are_found_by_name():
    lines = ["generated_tokens,arrival_s,other,context_tokens", "7,0.5,x,100", "", "1,2,y,3"]
    assert list(parse_trace(lines, "t.csv")) == [Arrival(0.5, 100, 7), Arrival(2.0, 3, 1)]


@pytest.mark.parametrize(
    ("lines", "told"),
    [
        ([], "t.csv:1: no column arrival_s"),
        (["arrival_s,context_tokens"], "t.csv:1: no column generated_tokens"),
        ([HEAD, "0,1,1", "1,ten,5"], "t.csv:3: context_tokens = 'ten'"),
        ([HEAD, "0,1"], "t.csv:2: generated_tokens = ''"),
        ([HEAD, "nan,1,1"], "t.csv:2: arrival_s = 'nan'"),
        ([HEAD, "0,-4,1"], "t.csv:2: context_tokens = '-4'"),
        ([HEAD, "0,1,9999"], "t.csv:2: generated_tokens = '9999'"),
    ],
)
def test_a_bad_trace_is_refused_by_line_and_column(lines, told):
    with pytest.raises(InvalidInputError) as caught:
        list(parse_trace(lines, "t.csv"))
    assert str(caught.value).startswith(told)


@pytest.mark.parametrize("content", [b"", f"{HEAD}\n".encode(), b"\xff\xfe\x00"])
def test_an_empty_or_unreadable_trace_is_refused(tmp_path, content):
    path = tmp_path / "t.csv"
    path.write_bytes(content)
    with pytest.raises(InvalidInputError):
        workload.read_trace(path)
    with pytest.raises(InvalidInputError, match="cannot be read"):
        workload.read_trace(tmp_path / "none.csv")


def test_replay_starts_at_once_and_keeps_the_gaps():
    trace = [Arrival(10.0, 1, 1), Arrival(14.0, 2, 2), Arrival(30.0, 3, 3)]
    assert replay(trace, 2.0, 9.0) == [Arrival(0.0, 1, 1), Arrival(2.0, 2, 2)]
