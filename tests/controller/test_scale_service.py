"""ScaleService over loopback: what is set holds, once, on disk; what is wrong is told."""

import itertools
import time
import uuid

import grpc
import pytest

from meshlb import settings
from meshlb.errors import REASON_KEY, ConflictError, InvalidInputError
from meshlb.v1 import scale_pb2
from tests.controller.conftest import until

QUICK = {"controller": {"grace_s": 0.1, "tick_s": 0.02}}
SCALED = settings.parse(
    QUICK | {"service": {"s": {"scale": {"min": 1, "max": 9, "mode": "observe"}}}}
)


def ask(request_type, service="s", **fields):
    return request_type(service=service, request_id=str(uuid.uuid4()), **fields)


def set_scale(service="s", etag="", request_id=None, **manual):
    return scale_pb2.SetScaleRequest(
        service=service,
        request_id=request_id or str(uuid.uuid4()),
        etag=etag,
        manual=scale_pb2.ManualScale(**manual) if manual else None,
    )


def get(running, service="s"):
    return running.scale.GetScale(scale_pb2.GetScaleRequest(service=service), timeout=10).scale


def refused(call, *args):
    with pytest.raises(grpc.RpcError) as caught:
        call(*args, timeout=10)
    reason = dict(caught.value.trailing_metadata()).get(REASON_KEY)
    return caught.value.code(), reason, caught.value.details()


def test_a_manual_count_is_the_target_from_then_on_and_ends_when_it_is_ended(running):
    controller = running(SCALED)

    answer = controller.scale.SetScale(set_scale(count=5, reason="a launch"), timeout=10).scale

    assert answer.target_count == 5
    assert answer.manual.reason == "a launch"
    assert get(controller).target_count == 5
    assert get(controller).decision.reason
    answer = controller.scale.SetScale(set_scale(), timeout=10).scale
    assert not answer.HasField("manual")


def test_the_same_request_again_gives_the_same_answer_and_changes_nothing(running):
    controller = running(SCALED)
    first = set_scale(count=5)
    answer = controller.scale.SetScale(first, timeout=10)
    controller.scale.SetScale(set_scale(count=3), timeout=10)

    again = controller.scale.SetScale(first, timeout=10)

    assert again == answer
    assert get(controller).target_count == 3


def test_a_request_id_is_not_used_for_something_else(running):
    controller = running(SCALED)
    controller.scale.SetScale(set_scale(count=5, request_id="one"), timeout=10)

    code, reason, text = refused(controller.scale.SetScale, set_scale(count=6, request_id="one"))

    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED")
    assert "request_id = 'one'" in text


def test_a_change_that_rests_on_an_old_etag_is_refused_and_the_newer_one_stays(running):
    controller = running(SCALED)
    old = get(controller).etag
    newer = controller.scale.SetScale(set_scale(count=5, etag=old), timeout=10).scale.etag

    code, reason, text = refused(controller.scale.SetScale, set_scale(count=2, etag=old))

    assert newer != old
    assert (code, reason) == (grpc.StatusCode.ABORTED, "STALE_ETAG")
    assert newer in text
    assert get(controller).target_count == 5


def test_pauses_add_up_and_end_one_by_one(running):
    controller = running(SCALED)

    def pause(**directions):
        request = ask(scale_pb2.PauseScaleRequest, pause=scale_pb2.ScalePause(**directions))
        return controller.scale.PauseScale(request, timeout=10).scale.pause

    def resume(**directions):
        request = ask(scale_pb2.ResumeScaleRequest, **directions)
        return controller.scale.ResumeScale(request, timeout=10).scale

    assert pause(scale_in=True, reason="a sale") == scale_pb2.ScalePause(
        scale_in=True, reason="a sale"
    )
    assert pause(scale_out=True).scale_in
    assert resume(scale_in=True).pause == scale_pb2.ScalePause(scale_out=True, reason="a sale")
    assert not resume().HasField("pause")
    assert pause() == scale_pb2.ScalePause(scale_out=True, scale_in=True)


def test_a_policy_takes_the_place_of_the_configured_one(running):
    controller = running(SCALED)
    request = scale_pb2.GetScalePolicyRequest(service="s")
    configured = controller.scale.GetScalePolicy(request, timeout=10)
    policy = scale_pb2.ScalePolicy(service="s", min_count=2, max_count=4)
    policy.rules.add(kind="group").params.update({"signal": "in_flight", "target": 8})

    put = controller.scale.PutScalePolicy(
        scale_pb2.PutScalePolicyRequest(
            policy=policy, request_id=str(uuid.uuid4()), etag=configured.etag
        ),
        timeout=10,
    )

    stored = controller.scale.GetScalePolicy(request, timeout=10)
    assert (configured.source, configured.policy.max_count) == ("config", 9)
    assert (stored.source, stored.etag) == ("stored", put.etag)
    assert stored.policy == put.policy
    assert stored.policy.stable_window.seconds == 60
    assert stored.policy.rules[0].params["target"] == 8
    until(lambda: get(controller).target_count == 2)


WRONG_POLICIES = [
    ({"min_count": 5, "max_count": 4}, "policy.min_count = 5: at most policy.max_count, 4"),
    ({"min_count": -1}, "policy.min_count = -1: a whole number from 0 to 10000"),
    ({"max_count": 10**12}, "policy.max_count = 1000000000000: a whole number from 1"),
    ({"tolerance": float("nan")}, "policy.tolerance = nan: from 0 to 0.5"),
    ({"rules": [scale_pb2.ScaleRule(kind="magic")]}, "policy.rules[0].kind = 'magic': one of"),
    ({"rules": [scale_pb2.ScaleRule(kind="group")] * 2}, "policy.rules[1].name = 'group'"),
    ({"mode": 77}, "policy.mode = 77: one of observe, active"),
]


@pytest.mark.parametrize(("fields", "fault"), WRONG_POLICIES)
def test_a_policy_that_cannot_be_right_is_told_by_field(running, fields, fault):
    controller = running(SCALED)
    policy = scale_pb2.ScalePolicy(service="s", **fields)
    request = scale_pb2.PutScalePolicyRequest(policy=policy, request_id="1")

    code, reason, text = refused(controller.scale.PutScalePolicy, request)

    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_POLICY")
    assert fault in text


@pytest.mark.parametrize(
    ("params", "fault"),
    [
        ({"signal": "karma"}, ".signal = 'karma': one of in_flight, queued"),
        ({"signal": ""}, ".signal = '': one of in_flight, queued"),
        ({"colour": "red"}, ".colour = 'red': not a parameter; known: "),
        ({"target": [1]}, ".target = [1]: a finite number"),
        ({"target": -1}, "target = -1"),
    ],
)
def test_a_rule_with_wrong_parameters_is_told_by_parameter(running, params, fault):
    controller = running(SCALED)
    policy = scale_pb2.ScalePolicy(service="s")
    policy.rules.add(kind="group").params.update(params)
    request = scale_pb2.PutScalePolicyRequest(policy=policy, request_id="1")

    code, reason, text = refused(controller.scale.PutScalePolicy, request)

    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_POLICY")
    assert "policy.rules[0]" in text
    assert fault in text


@pytest.mark.parametrize(
    ("manual", "fault"),
    [
        ({"count": -1}, "manual.count = -1: from 0 to 10000"),
        ({"count": 10**9}, "manual.count = 1000000000: from 0 to 10000"),
        ({"min_count": 5, "max_count": 4}, "manual.min_count = 5: at most manual.max_count, 4"),
        ({"reason": "why"}, "manual: a count, min_count or max_count"),
        ({"count": 1, "reason": "x" * 2000}, "manual.reason: 2000 characters: at most 1000"),
    ],
)
def test_a_manual_scale_that_cannot_be_right_is_told_by_field(running, manual, fault):
    controller = running(SCALED)

    code, reason, text = refused(controller.scale.SetScale, set_scale(**manual))

    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_MANUAL_SCALE")
    assert fault in text


def test_an_expiry_lies_ahead_and_ends_what_was_set(running):
    controller = running(SCALED)
    late = scale_pb2.ManualScale(count=5)
    late.expire_time.FromSeconds(int(time.time()) - 10)
    request = scale_pb2.SetScaleRequest(service="s", request_id="1", manual=late)

    code, reason, text = refused(controller.scale.SetScale, request)

    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_MANUAL_SCALE")
    assert "manual.expire_time = " in text
    soon = scale_pb2.ManualScale(count=5)
    soon.expire_time.FromNanoseconds(time.time_ns() + 300_000_000)
    request = scale_pb2.SetScaleRequest(service="s", request_id="2", manual=soon)
    assert controller.scale.SetScale(request, timeout=10).scale.target_count == 5
    until(lambda: not get(controller).HasField("manual"))


@pytest.mark.parametrize(
    ("call", "request_"),
    [
        ("GetScale", scale_pb2.GetScaleRequest(service="nobody")),
        ("GetScalePolicy", scale_pb2.GetScalePolicyRequest(service="nobody")),
        ("SetScale", set_scale("nobody", count=1)),
        ("PauseScale", ask(scale_pb2.PauseScaleRequest, "nobody")),
        ("ResumeScale", ask(scale_pb2.ResumeScaleRequest, "nobody")),
        ("ListScaleDecisions", scale_pb2.ListScaleDecisionsRequest(service="nobody")),
        (
            "PutScalePolicy",
            scale_pb2.PutScalePolicyRequest(
                policy=scale_pb2.ScalePolicy(service="nobody"), request_id="1"
            ),
        ),
    ],
)
def test_a_service_that_nobody_knows_is_told_with_those_that_are_known(running, call, request_):
    controller = running(SCALED)

    code, reason, text = refused(getattr(controller.scale, call), request_)

    assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "UNKNOWN_SERVICE")
    assert "service = 'nobody': one of ['s']" in text


@pytest.mark.parametrize("request_id", ["", "x" * 129])
def test_a_change_must_be_named(running, request_id):
    controller = running(SCALED)
    request = scale_pb2.PauseScaleRequest(service="s", request_id=request_id)

    code, reason, text = refused(controller.scale.PauseScale, request)

    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST_ID")
    assert "1 to 128 characters" in text


def test_a_service_without_a_policy_decides_nothing_and_says_how_to_change_that(running):
    controller = running(settings.parse(QUICK))
    controller.node("a", service="plain")
    until(lambda: [s.ready_count for s in scales(controller)] == [1])

    code, reason, text = refused(controller.scale.SetScale, set_scale("plain", count=2))

    assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NO_POLICY")
    assert "PutScalePolicy" in text
    assert not get(controller, "plain").HasField("target_count")


def scales(controller):
    return controller.scale.ListScales(scale_pb2.ListScalesRequest(), timeout=10).scales


def test_a_watcher_is_told_the_state_now_and_each_change(running):
    controller = running(SCALED)
    watch = controller.scale.WatchScale(scale_pb2.WatchScaleRequest(service="s"), timeout=30)
    first = next(watch).scale
    controller.scale.SetScale(set_scale(count=7), timeout=10)

    told = next(m.scale for m in watch if m.scale.target_count == 7)
    watch.cancel()

    assert first.service == "s"
    assert told.manual.count == 7
    code, reason, _ = refused(lambda r, timeout: next(controller.scale.WatchScale(
        r, timeout=timeout)), scale_pb2.WatchScaleRequest(service="nobody"))  # fmt: skip
    assert (code, reason) == (grpc.StatusCode.NOT_FOUND, "UNKNOWN_SERVICE")


def test_a_slow_watcher_gets_the_newest_state_not_a_queue(running):
    controller = running(SCALED)
    watch = controller.scale.WatchScale(scale_pb2.WatchScaleRequest(), timeout=60)
    next(watch)
    for count in itertools.chain(range(1, 9), [4]):
        controller.scale.SetScale(set_scale(count=count, reason="x" * 900), timeout=10)

    until(lambda: next(watch).scale.target_count == 4)
    watch.cancel()


def test_every_change_of_the_target_is_recorded_with_its_reasons(running):
    controller = running(SCALED)
    for count in (3, 6):
        controller.scale.SetScale(set_scale(count=count), timeout=10)

    def recorded(**fields):
        request = scale_pb2.ListScaleDecisionsRequest(service="s", **fields)
        return controller.scale.ListScaleDecisions(request, timeout=10).decisions

    newest = recorded(limit=1)[0]
    targets = [d.target_count for d in recorded(changes_only=True)]
    assert newest.target_count == 6
    assert newest.reason
    assert newest.record_json
    assert targets[:2] == [6, 3]
    ids = [d.decision_id for d in recorded()]
    assert ids == sorted(ids, reverse=True)
    assert len(set(ids)) == len(ids)
    until_time = newest.decide_time
    assert recorded(until_time=until_time)[0] == newest
    until_time.FromNanoseconds(until_time.ToNanoseconds() - 1_000_000)
    assert recorded(until_time=until_time)[0].target_count == 3
    request = scale_pb2.ListScaleDecisionsRequest(service="s", limit=-5)
    code, reason, text = refused(controller.scale.ListScaleDecisions, request)
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_LIMIT")
    assert "limit = -5" in text


def test_what_was_answered_outlives_the_controller(running, tmp_path):
    state = tmp_path / "state.db"
    controller = running(SCALED, state)
    policy = scale_pb2.ScalePolicy(service="s", max_count=7)
    put = scale_pb2.PutScalePolicyRequest(policy=policy, request_id="put")
    first = controller.scale.PutScalePolicy(put, timeout=10)
    controller.scale.SetScale(set_scale(count=6, reason="by hand"), timeout=10)
    pause = scale_pb2.PauseScaleRequest(service="s", request_id="pause")
    before = controller.scale.PauseScale(pause, timeout=10).scale
    last_id = get(controller).decision.decision_id
    controller.stop()

    controller = running(SCALED, state)

    after = get(controller)
    assert (after.etag, after.manual, after.pause) == (before.etag, before.manual, before.pause)
    assert controller.scale.PutScalePolicy(put, timeout=10) == first
    until(lambda: get(controller).target_count == 6)
    until(lambda: get(controller).decision.decision_id > last_id)


def test_a_state_file_is_held_by_one_controller(running, tmp_path):
    running(SCALED, tmp_path / "state.db")

    with pytest.raises(ConflictError, match="another controller holds it"):
        running(SCALED, tmp_path / "state.db")


@pytest.mark.parametrize(
    ("content", "reason"),
    [(b"not a database at all" * 100, "STATE_DAMAGED"), (None, "INVALID_STATE_PATH")],
)
def test_a_state_file_that_cannot_be_used_is_refused_and_left_as_it_is(
    running, tmp_path, content, reason
):
    state = tmp_path / ("state.db" if content else "missing/state.db")
    if content:
        state.write_bytes(content)

    with pytest.raises(InvalidInputError) as caught:
        running(SCALED, state)

    assert caught.value.reason == reason
    assert str(state) in str(caught.value)
    assert not content or state.read_bytes() == content


def test_a_preview_says_what_another_policy_would_have_done_and_changes_nothing(running):
    controller = running(SCALED)
    for count in (3, 6):
        controller.scale.SetScale(set_scale(count=count), timeout=10)
    before = get(controller)
    policy = scale_pb2.ScalePolicy(service="s", min_count=2, max_count=4)
    request = scale_pb2.PreviewScalePolicyRequest(policy=policy)

    answer = controller.scale.PreviewScalePolicy(request, timeout=10)

    assert [point.recorded_count for point in answer.points][-2:] == [3, 6]
    assert all(point.reason for point in answer.points)
    assert answer.preview_node_seconds >= 0
    after = get(controller)
    assert (after.etag, after.target_count) == (before.etag, 6)
    request.policy.min_count = 9
    code, reason, _ = refused(controller.scale.PreviewScalePolicy, request)
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_POLICY")
