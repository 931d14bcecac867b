"""``meshlb scale``, as its users call it, against a scripted service over real loopback."""

import json
import tomllib
from datetime import UTC, datetime, timedelta

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from meshlb.cli import _explain_text, _scale_explain
from meshlb.cli.__main__ import main
from meshlb.v1 import scale_pb2

NOW = 1_590_000_000
"""When the decision of the script was made, Unix seconds."""
STALE = (grpc.StatusCode.ABORTED, "STALE_ETAG: etag = 'e6': the current one, e7")


def test_get_lists_services_with_target_counts_and_reason(fake, meshlb, status):
    fake.answers["ListScales"] = scale_pb2.ListScalesResponse(scales=[status()])

    code, out, _ = meshlb("scale", "get")

    head, row = out.splitlines()
    assert code == 0
    assert head.split() == [
        "SERVICE", "TARGET", "READY", "STARTING", "BOUNDS", "WHY",
    ]  # fmt: skip
    assert row.split()[:5] == ["llama", "6", "4", "2", "1..8"]
    assert row.endswith("2 min ago")


def test_get_shows_mode_and_pauses_only_where_they_say_something(fake, meshlb, status):
    paused = status(mode=scale_pb2.SCALE_MODE_OBSERVE, pause=scale_pb2.ScalePause(scale_in=True))
    fake.answers["ListScales"] = scale_pb2.ListScalesResponse(scales=[paused])

    _, out, _ = meshlb("scale", "get")

    assert out.split()[5:7] == ["MODE", "PAUSED"]
    assert "observe" in out


def test_get_of_an_empty_controller_says_so(fake, meshlb):
    fake.answers["ListScales"] = scale_pb2.ListScalesResponse()

    assert meshlb("scale", "get")[:2] == (
        0, "no services yet: no sidecar or client has come, and none is configured\n",
    )  # fmt: skip


def test_get_of_one_service_shows_replicas_sizes_and_what_is_held(fake, meshlb, status):
    one = status(
        manual=scale_pb2.ManualScale(min_count=2, reason="launch"),
        pause=scale_pb2.ScalePause(scale_out=True, scale_in=True, reason="incident"),
        problem="the command ended with 127",
    )
    fake.answers["GetScale"] = scale_pb2.GetScaleResponse(scale=one)

    code, out, _ = meshlb("scale", "get", "llama")

    assert code == 0
    assert out.startswith("llama: 6 nodes wanted, 4 ready, 2 starting\n")
    for told in (
        "at least 2, until cleared: launch", "out, in: incident", "the command ended with 127",
        "r5       -     starting", "16 -> 20", "3.0 GiB", "etag      e7", "starts one in 31 s",
    ):  # fmt: skip
        assert told in out
    assert max(map(len, out.splitlines())) <= 80


def test_json_is_the_message_and_leaves_out_what_is_not_known(fake, meshlb):
    fake.answers["GetScale"] = scale_pb2.GetScaleResponse(
        scale=scale_pb2.ScaleStatus(service="llama")
    )

    read = json.loads(meshlb("scale", "get", "llama", "--json")[1])

    assert read["readyCount"] == "0"
    assert "targetCount" not in read


def test_set_sends_count_bounds_expiry_reason_and_etag(fake, meshlb, status):
    fake.answers["SetScale"] = lambda r: scale_pb2.SetScaleResponse(scale=status(manual=r.manual))
    before = datetime.now(UTC)

    code, out, _ = meshlb(
        "scale", "set", "llama", 6, "--min", 0, "--max", 7, "--for", "1h30m",
        "--reason", "load test", "--etag", "e7", "--request-id", "mine",
    )  # fmt: skip

    (asked,) = fake.asked["SetScale"]
    assert code == 0
    assert (asked.service, asked.request_id, asked.etag) == ("llama", "mine", "e7")
    manual = asked.manual
    assert (manual.count, manual.min_count, manual.max_count) == (6, 0, 7)
    assert manual.HasField("min_count")
    ends = manual.expire_time.ToDatetime(UTC) - before
    assert timedelta(hours=1.5) <= ends < timedelta(hours=2)
    assert "6 nodes, at least 0, at most 7, until " in out
    assert out.endswith(": load test\n")


def test_set_of_bounds_alone_sets_no_count_and_each_change_has_its_own_name(fake, meshlb, status):
    fake.answers["SetScale"] = scale_pb2.SetScaleResponse(scale=status())

    meshlb("scale", "set", "llama", "--min", 2)
    meshlb("scale", "set", "llama", "--clear")

    bounds, clear = fake.asked["SetScale"]
    assert not bounds.manual.HasField("count")
    assert not clear.HasField("manual")
    assert len({bounds.request_id, clear.request_id, ""}) == 3


@pytest.mark.parametrize(
    ("args", "told"),
    [
        ((), "COUNT: a number of nodes"),
        (("4", "--until", "2020-01-01"), "--until = '2020-01-01': a time that lies ahead"),
        (("-1",), "COUNT = '-1': a whole number from 0 to 10000"),
        (("9" * 30,), "a whole number from 0 to 10000"),
        (("many",), "COUNT = 'many'"),
        (("--max", "0"), "--max = '0': a whole number from 1 to 10000"),
        (("--min", "5", "--max", "4"), "--min = 5: at most --max = 4"),
        (("4", "--clear"), "--clear: alone"),
        (("4", "--for", "2"), "--for = '2': a span such as"),
        (("4", "--for", "999d"), "at most 366d"),
        (("--for", "2h"), "COUNT: a number of nodes"),
        (("4", "--wait", "soon"), "--wait = 'soon'"),
    ],
)
def test_a_wrong_set_ends_with_2_and_asks_nobody(fake, meshlb, args, told):
    code, _, err = meshlb("scale", "set", "llama", *args)

    assert code == 2
    assert told in err
    assert "SetScale" not in fake.asked


@pytest.mark.parametrize(
    ("answer", "code", "told"),
    [
        (STALE, 3, "meshlb: etag = 'e6': the current one, e7\n"),
        ((grpc.StatusCode.FAILED_PRECONDITION, "NO_ACTUATOR: none"), 3, "meshlb: none\n"),
        ((grpc.StatusCode.NOT_FOUND, "UNKNOWN_SERVICE: service = 'x': y"), 2, "service = 'x'"),
        ((grpc.StatusCode.INVALID_ARGUMENT, "INVALID: count = 9: at most 8"), 2, "count = 9: at"),
        ((grpc.StatusCode.RESOURCE_EXHAUSTED, "DISK_FULL: no room for it"), 1, "no room for it"),
        ((grpc.StatusCode.UNIMPLEMENTED, "Method not found!"), 1, "older than this command?"),
    ],
)
def test_refusals_have_exit_codes_that_scripts_can_use(fake, meshlb, answer, code, told):
    fake.answers["SetScale"] = answer

    ended, out, err = meshlb("scale", "set", "llama", "3", "--request-id", "r")

    assert (ended, out) == (code, "")
    assert told in err
    assert ("to repeat it safely: --request-id r" in err) == (code == 1)
    assert len({asked.request_id for asked in fake.asked["SetScale"]}) == 1


def test_a_controller_that_is_not_there_ends_with_1(capsys):
    assert main(["scale", "get", "--controller", "127.0.0.1:1"]) == 1
    assert "is it running there?" in capsys.readouterr().err


def test_set_wait_returns_when_the_target_is_what_was_set_and_is_reached(fake, meshlb, status):
    fake.answers["SetScale"] = scale_pb2.SetScaleResponse(scale=status())
    fake.answers["WatchScale"] = [
        scale_pb2.WatchScaleResponse(scale=status(target_count=4, ready_count=4, starting_count=0)),
        scale_pb2.WatchScaleResponse(scale=status()),
        scale_pb2.WatchScaleResponse(scale=status(ready_count=6, starting_count=0)),
    ]

    code, out, _ = meshlb("scale", "set", "llama", 6, "--wait", "60s")

    assert (code, out.splitlines()[0]) == (0, "llama: 6 nodes wanted, 6 ready")


def test_set_wait_that_is_not_reached_ends_with_1(fake, meshlb, status):
    fake.answers["SetScale"] = scale_pb2.SetScaleResponse(scale=status())
    fake.answers["WatchScale"] = [scale_pb2.WatchScaleResponse(scale=status())]

    code, _, err = meshlb("scale", "set", "llama", 6, "--wait", "0.5s")

    assert code == 1
    assert "--wait: not reached in 0.5 s: " in err


def test_a_count_outside_the_bounds_is_told(fake, meshlb, status):
    fake.answers["SetScale"] = lambda r: scale_pb2.SetScaleResponse(scale=status(manual=r.manual))

    assert "bounds of 1 to 8 hold" in meshlb("scale", "set", "llama", 9)[1]
    assert "bounds" not in meshlb("scale", "set", "llama", 8)[1]


@pytest.mark.parametrize(
    ("way", "both"), [((), (True, True)), (("in",), (False, True)), (("out",), (True, False))]
)
def test_pause_and_resume_hold_the_directions_told(fake, meshlb, way, both, status):
    fake.answers["PauseScale"] = lambda r: scale_pb2.PauseScaleResponse(scale=status(pause=r.pause))
    fake.answers["ResumeScale"] = scale_pb2.ResumeScaleResponse(scale=status())

    assert meshlb("scale", "pause", "llama", *way, "--reason", "x")[0] == 0
    assert meshlb("scale", "resume", "llama", *way)[:2] == (0, "llama: nothing is paused\n")

    (paused,), (resumed,) = fake.asked["PauseScale"], fake.asked["ResumeScale"]
    assert (paused.pause.scale_out, paused.pause.scale_in) == both
    assert (resumed.scale_out, resumed.scale_in) == both
    assert paused.pause.reason == "x"


POLICY = """
min = 2
max = 12
mode = "observe"
vertical = "off"
tolerance = 0.05
scale_in_window_s = 120.5
drain_limit_s = 3600
[[rules]]
kind = "reserve"
signal = "in_flight"
target = 16
k = "auto"
[[rules]]
kind = "schedule"
name = "office hours"
params = { days = ["mon", "tue"], from = 08:00:00 }
"""


def test_a_policy_file_is_stored_and_what_is_shown_reads_back_to_the_same(fake, meshlb, tmp_path):
    fake.answers["PutScalePolicy"] = lambda r: scale_pb2.PutScalePolicyResponse(
        policy=r.policy, etag="e8"
    )
    first, again = tmp_path / "first.toml", tmp_path / "again.toml"
    first.write_text(POLICY)

    code, out, _ = meshlb("scale", "policy", "llama", "--put", first, "--etag", "e7")
    again.write_text(out)
    meshlb("scale", "policy", "llama", "--put", again)

    one, two = fake.asked["PutScalePolicy"]
    assert code == 0
    assert one.etag == "e7"
    assert one.policy == two.policy
    assert (one.policy.min_count, one.policy.mode) == (2, scale_pb2.SCALE_MODE_OBSERVE)
    assert one.policy.scale_in_window == Duration(seconds=120, nanos=500_000_000)
    assert not one.policy.HasField("stable_window")
    assert one.policy.rules[1].params["from"] == "08:00:00"
    shown = tomllib.loads(out)["service"]["llama"]["scale"]
    assert shown["rules"][0] == {
        "kind": "reserve", "signal": "in_flight", "target": 16, "k": "auto",
    }  # fmt: skip


def test_faults_that_the_controller_finds_name_the_keys_of_the_file(fake, meshlb, tmp_path):
    file = tmp_path / "policy.toml"
    file.write_text(POLICY)
    faults = (
        "policy.min_count = 9: at most policy.max_count, 3",
        "policy.stable_window = 0: from 1 to 3600",
        "policy.rules[0].k = x: a number; or auto",
    )
    told = f"INVALID_POLICY: {'; '.join(faults)}"
    fake.answers["PutScalePolicy"] = (grpc.StatusCode.INVALID_ARGUMENT, told)

    code, _, err = meshlb("scale", "policy", "llama", "--put", file)

    assert code == 2
    assert err.splitlines() == [
        "meshlb: min = 9: at most max, 3",
        "meshlb: stable_window_s = 0: from 1 to 3600",
        "meshlb: rules[0].k = x: a number; or auto",
    ]


def test_a_policy_is_shown_with_its_source_and_etag(fake, meshlb):
    policy = scale_pb2.ScalePolicy(service="my.svc", min_count=0)
    fake.answers["GetScalePolicy"] = scale_pb2.GetScalePolicyResponse(
        policy=policy, etag="e7", source="config"
    )

    code, out, _ = meshlb("scale", "policy", "my.svc")

    assert (code, out.splitlines()[0]) == (0, "# from: config, etag: e7")
    assert tomllib.loads(out) == {"service": {"my.svc": {"scale": {"min": 0}}}}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("min = 'one'", "min = 'one': a number"),
        ("min = 1.5", "min = 1.5: a whole number"),
        ("min = true", "min = True: a number"),
        ("tolerance = nan", "tolerance = nan: a number"),
        ("mode = 'on'", "mode = 'on': one of observe, active"),
        ("mx = 1", "mx = 1: not a key; known: consolidation_limit"),
        ("rules = 3", "rules = 3: tables"),
        ("[[rules]]\nname = 'x'", "rules[0].kind = None"),
        ("min = = 1", "valid TOML"),
        ("[service.other.scale]\nmin = 1", "service.llama.scale: a table of"),
    ],
)
def test_a_wrong_policy_file_ends_with_2_and_names_the_key(fake, meshlb, tmp_path, text, told):
    file = tmp_path / "policy.toml"
    file.write_text(text)

    code, _, err = meshlb("scale", "policy", "llama", "--put", file)

    assert code == 2
    assert told in err
    assert fake.asked == {}


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


def test_watch_prints_a_line_at_each_change_and_ends_when_refused(fake, meshlb, status, decision):
    message = scale_pb2.WatchScaleResponse
    fake.answers["WatchScale"] = [
        message(scale=status()),
        message(scale=status(decision=decision(reason="the same but for a figure"))),
        message(scale=status(ready_count=5)),
        (grpc.StatusCode.NOT_FOUND, "UNKNOWN_SERVICE: service = 'llama': it is gone"),
    ]

    code, out, err = meshlb("scale", "watch")
    _, lines, _ = meshlb("scale", "watch", "--json")

    assert (code, err) == (2, "meshlb: service = 'llama': it is gone\n")
    assert [line.split(",")[1] for line in out.splitlines()] == [" 4 ready", " 5 ready"]
    assert [json.loads(line)["readyCount"] for line in lines.splitlines()] == ["4", "5"]


def test_watch_goes_on_through_a_restart_of_the_controller(fake, meshlb, status):
    streams = [
        [scale_pb2.WatchScaleResponse(scale=status()), (grpc.StatusCode.UNAVAILABLE, "going away")],
        [
            scale_pb2.WatchScaleResponse(scale=status(ready_count=6)),
            (grpc.StatusCode.INTERNAL, "BROKEN: enough"),
        ],
    ]
    fake.answers["WatchScale"] = lambda _: streams.pop(0)

    code, out, err = meshlb("scale", "watch", "llama")

    assert code == 1
    assert len(out.splitlines()) == 2
    assert err.splitlines()[0] == "meshlb: controller gone (going away); trying again"


def test_preview_shows_node_seconds_and_differences(fake, meshlb, tmp_path):
    answer = scale_pb2.PreviewScalePolicyResponse(
        recorded_node_seconds=36_000, preview_node_seconds=27_000
    )
    answer.covered.FromSeconds(7200)
    for at, recorded, would in ((0, 4, 4), (60, 5, 3), (120, 5, 6)):
        point = answer.points.add(recorded_count=recorded, preview_count=would, reason=f"at {at}")
        point.time.FromSeconds(NOW + at)
    fake.answers["PreviewScalePolicy"] = answer
    file = tmp_path / "policy.toml"
    file.write_text(POLICY)

    code, out, _ = meshlb("scale", "preview", "llama", "--policy", file, "--since", "1d")

    assert code == 0
    assert fake.asked["PreviewScalePolicy"][0].since.seconds == 86400
    assert "36,000" in out
    assert "25.0% less" in out
    assert "3.75" in out
    assert [line.split()[-3:] for line in out.splitlines()[-2:]] == [
        ["-2", "at", "60"], ["+1", "at", "120"],
    ]  # fmt: skip


def test_preview_without_a_record_says_so(fake, meshlb, tmp_path):
    fake.answers["PreviewScalePolicy"] = scale_pb2.PreviewScalePolicyResponse()
    file = tmp_path / "policy.toml"
    file.write_text(POLICY)

    code, out, _ = meshlb("scale", "preview", "llama", "--policy", file)

    assert code == 0
    assert "no decisions recorded yet" in out
