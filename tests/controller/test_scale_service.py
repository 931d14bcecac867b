"""ScaleService over loopback: what is set holds, once, until it ends."""

import uuid

import grpc

from meshlb.v1 import scale_pb2
from tests.controller.scale_calls import SCALED, ask, get, refused, set_scale
from tests.waiting import until


def test_a_manual_count_is_the_target_from_then_on_and_ends_when_it_is_ended(running):
    controller = running(SCALED)

    answer = controller.scale.SetScale(set_scale(count=5, reason="a launch"), timeout=60).scale

    assert answer.target_count == 5
    assert answer.manual.reason == "a launch"
    assert get(controller).target_count == 5
    assert get(controller).decision.reason
    answer = controller.scale.SetScale(set_scale(), timeout=60).scale
    assert not answer.HasField("manual")


def test_the_same_request_again_gives_the_same_answer_and_changes_nothing(running):
    controller = running(SCALED)
    first = set_scale(count=5)
    answer = controller.scale.SetScale(first, timeout=60)
    controller.scale.SetScale(set_scale(count=3), timeout=60)

    again = controller.scale.SetScale(first, timeout=60)

    assert again == answer
    assert get(controller).target_count == 3


def test_a_request_id_is_not_used_for_something_else(running):
    controller = running(SCALED)
    controller.scale.SetScale(set_scale(count=5, request_id="one"), timeout=60)

    code, reason, text = refused(controller.scale.SetScale, set_scale(count=6, request_id="one"))

    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "REQUEST_ID_REUSED")
    assert "request_id = 'one'" in text


def test_a_change_that_rests_on_an_old_etag_is_refused_and_the_newer_one_stays(running):
    controller = running(SCALED)
    old = get(controller).etag
    newer = controller.scale.SetScale(set_scale(count=5, etag=old), timeout=60).scale.etag

    code, reason, text = refused(controller.scale.SetScale, set_scale(count=2, etag=old))

    assert newer != old
    assert (code, reason) == (grpc.StatusCode.ABORTED, "STALE_ETAG")
    assert newer in text
    assert get(controller).target_count == 5


def test_pauses_add_up_and_end_one_by_one(running):
    controller = running(SCALED)

    def pause(**directions):
        request = ask(scale_pb2.PauseScaleRequest, pause=scale_pb2.ScalePause(**directions))
        return controller.scale.PauseScale(request, timeout=60).scale.pause

    def resume(**directions):
        request = ask(scale_pb2.ResumeScaleRequest, **directions)
        return controller.scale.ResumeScale(request, timeout=60).scale

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
    configured = controller.scale.GetScalePolicy(request, timeout=60)
    policy = scale_pb2.ScalePolicy(service="s", min_count=2, max_count=4)
    policy.rules.add(kind="group").params.update({"signal": "in_flight", "target": 8})

    put = controller.scale.PutScalePolicy(
        scale_pb2.PutScalePolicyRequest(
            policy=policy, request_id=str(uuid.uuid4()), etag=configured.etag
        ),
        timeout=60,
    )

    stored = controller.scale.GetScalePolicy(request, timeout=60)
    assert (configured.source, configured.policy.max_count) == ("config", 9)
    assert (stored.source, stored.etag) == ("stored", put.etag)
    assert stored.policy == put.policy
    assert stored.policy.stable_window.seconds == 60
    assert stored.policy.rules[0].params["target"] == 8
    until(lambda: get(controller).target_count == 2)
