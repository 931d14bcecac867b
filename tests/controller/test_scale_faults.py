"""ScaleService over loopback: what is wrong is refused, with the field named."""

import time

import grpc
import pytest

from meshlb import settings
from meshlb.v1 import scale_pb2
from tests.controller.scale_calls import QUICK, SCALED, ask, get, refused, scales, set_scale
from tests.waiting import until

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
    assert controller.scale.SetScale(request, timeout=60).scale.target_count == 5
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
