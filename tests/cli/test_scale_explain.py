"""``meshlb scale explain``: a decision as a person on call reads it."""

from datetime import UTC, datetime

import pytest

from meshlb.cli import _explain_text, _scale_explain
from meshlb.v1 import scale_pb2
from tests.cli.conftest import NOW


def test_explain_fits_80_columns_and_tells_all_parts(fake, meshlb, status, decision):
    fake.answers["GetScale"] = scale_pb2.GetScaleResponse(scale=status())
    fake.answers["ListScaleDecisions"] = scale_pb2.ListScaleDecisionsResponse(
        decisions=[decision(previous_count=4)]
    )

    code, out, _ = meshlb("scale", "explain", "llama")

    assert code == 0
    assert max(map(len, out.splitlines())) <= 80
    lines = out.splitlines()
    assert lines[0].startswith("llama: 6 nodes wanted since ")
    assert lines[0].endswith("; 4 before")
    assert lines[1] == f"  {decision().reason}"
    for told in (
        "6 s mean   60 s mean", "cpu ", "1 silent", "cpu guard     >= 4  CPU 60 %",
        "forecast         -  too little", "window      4 -> 6  6 was the greatest",
        "one takes 31 s to start", "HELD  scale-in, by window",
        "NEXT  rises as soon as a rule wants more; falls by ",
    ):  # fmt: skip
        assert told in out
    assert "tokens" not in out  # no rule looks at them


def test_explain_of_the_past_asks_for_the_decision_of_then(fake, meshlb, decision):
    fake.answers["ListScaleDecisions"] = scale_pb2.ListScaleDecisionsResponse(
        decisions=[decision()]
    )

    code, out, _ = meshlb("scale", "explain", "llama", "--at", "2020-10-01T12:00:00Z")

    asked = fake.asked["ListScaleDecisions"][0]
    assert code == 0
    assert asked.until_time.ToDatetime(UTC) == datetime(2020, 10, 1, 12, tzinfo=UTC)
    assert asked.limit == 1
    assert "GetScale" not in fake.asked
    assert out.startswith("llama: 6 nodes wanted since 2020-")


def test_explain_without_a_record_says_so(fake, meshlb):
    fake.answers["GetScale"] = scale_pb2.GetScaleResponse(
        scale=scale_pb2.ScaleStatus(service="llama")
    )
    fake.answers["ListScaleDecisions"] = scale_pb2.ListScaleDecisionsResponse()

    code, _, err = meshlb("scale", "explain", "llama")

    assert (code, err) == (1, "meshlb: service = 'llama': no decision is recorded yet\n")


def test_explain_since_lists_changes_oldest_first(fake, meshlb, decision):
    fake.answers["ListScaleDecisions"] = scale_pb2.ListScaleDecisionsResponse(
        decisions=[
            decision(previous_count=5, reason="later"),
            decision(target_count=5, previous_count=4, reason="earlier"),
        ]
    )

    _, out, _ = meshlb("scale", "explain", "llama", "--since", "1d")

    assert [line.split()[-4:] for line in out.splitlines()[1:]] == [
        ["4", "->", "5", "earlier"], ["5", "->", "6", "later"],
    ]  # fmt: skip
    assert fake.asked["ListScaleDecisions"][0].changes_only


def test_a_rule_that_says_nothing_is_listed_all_the_same(decision):
    one = decision()
    record = _scale_explain.record_of(one)
    rules = [*record["policy"]["rules"], {"kind": "schedule", "name": "", "params": {}},
             {"kind": "threshold", "name": "cpu guard", "params": {}}]  # fmt: skip
    record["policy"]["rules"] = rules

    told = _explain_text.explain(
        one, record, change=None, scale=None, at=datetime.fromtimestamp(NOW, UTC), columns=80
    )

    assert [line.split() for line in told.splitlines() if "says nothing now" in line] == [
        ["schedule", "-", "says", "nothing", "now"]
    ]


@pytest.mark.parametrize("text", ["", "{}", "[]", "{", '{"inputs": {}}'])
def test_a_decision_with_a_poor_record_is_explained_by_what_there_is(text, decision):
    one = decision(record_json=text)

    told = _explain_text.explain(
        one, _scale_explain.record_of(one), change=None, scale=None,
        at=datetime.fromtimestamp(NOW + 60, UTC), columns=80,
    )  # fmt: skip

    assert "RULES" in told
    assert "LOAD" not in told


@pytest.mark.parametrize(
    ("inputs", "more", "told"),
    [
        ({"manual": {"count": 6, "expires_at": None}}, {}, "scale set llama --clear"),
        ({"manual": {"count": 6, "expires_at": NOW + 60.0}}, {}, "set by hand ends, "),
        ({"pause": {"scale_in": True}}, {}, "falls when resumed (meshlb scale resume llama in)"),
        ({"pause": {"scale_out": True}}, {}, "rises when resumed"),
        ({}, {"most": 6}, "rises only if the most, 6, is raised"),
        ({}, {"least": 6}, "falls only if the least, 6, is lowered"),
    ],
)
def test_next_says_what_must_happen(inputs, more, told, decision):
    one = decision()
    record = _scale_explain.record_of(one) | more
    record["inputs"] |= inputs

    text = _explain_text.explain(
        one, record, change=None, scale=None, at=datetime.fromtimestamp(NOW, UTC), columns=200
    )

    assert told in text.partition("NEXT")[2]


@pytest.mark.parametrize(
    ("clamps", "told"),
    [
        ([], "falls 5 min after the last want of so many"),
        ([("rate", 9)], "rises again within 15 s"),
        ([("window", 9)], "rises once so many were wanted for 20 s"),
        ([("panic", 4)], "falls after the panic, "),
        ([("idle", 0)], "falls to none at "),
        ([("consolidation", 4), ("tolerance", 5)], "falls when the load falls further"),
        ([("missing", 4)], "falls once the missing signal is told again"),
        ([("hold", 4)], "falls when that hold ends"),
        ([("reported", 4)], "falls once 90 % of the known nodes report"),
        ([("of a plugin", 4)], "falls when of a plugin lets it"),
    ],
)
def test_next_follows_from_the_steps(clamps, told, decision):
    one = decision()
    record = _scale_explain.record_of(one)
    record["inputs"] |= {"panic_since": NOW - 5.0, "idle_s": 20.0}
    record["policy"] |= {"scale_out_window_s": 20.0, "idle_limit_s": 300.0}
    del one.clamps[:]
    for name, before in clamps:
        one.clamps.add(name=name, before_count=before, after_count=6)

    text = _explain_text.explain(
        one, record, change=None, scale=None, at=datetime.fromtimestamp(NOW, UTC), columns=200
    )

    assert told in text.partition("NEXT")[2]
