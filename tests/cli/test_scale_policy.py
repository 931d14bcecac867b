"""``meshlb scale policy`` and ``preview``: the file, its faults, and what it would have done."""

import tomllib

import grpc
import pytest
from google.protobuf.duration_pb2 import Duration

from meshlb.v1 import scale_pb2
from tests.cli.conftest import NOW

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
