"""ScaleService over loopback: what is recorded, previewed, watched, and outlives the controller."""

import itertools

import grpc
import pytest

from meshlb.errors import ConflictError, InvalidInputError
from meshlb.v1 import scale_pb2
from tests.controller.scale_calls import SCALED, get, recorded, refused, set_scale
from tests.waiting import until


def test_a_watcher_is_told_the_state_now_and_each_change(running):
    controller = running(SCALED)
    watch = controller.scale.WatchScale(scale_pb2.WatchScaleRequest(service="s"), timeout=30)
    first = next(watch).scale
    controller.scale.SetScale(set_scale(count=7), timeout=60)

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
        controller.scale.SetScale(set_scale(count=count, reason="x" * 900), timeout=60)

    until(lambda: next(watch).scale.target_count == 4)
    watch.cancel()


def test_every_change_of_the_target_is_recorded_with_its_reasons(running):
    controller = running(SCALED)
    for count in (3, 6):
        controller.scale.SetScale(set_scale(count=count), timeout=60)

    newest = recorded(controller, limit=1)[0]
    targets = [d.target_count for d in recorded(controller, changes_only=True)]
    assert newest.target_count == 6
    assert newest.reason
    assert newest.record_json
    assert targets[:2] == [6, 3]
    ids = [d.decision_id for d in recorded(controller)]
    assert ids == sorted(ids, reverse=True)
    assert len(set(ids)) == len(ids)
    until_time = newest.decide_time
    assert recorded(controller, until_time=until_time)[0] == newest
    until_time.FromNanoseconds(until_time.ToNanoseconds() - 1_000_000)
    assert recorded(controller, until_time=until_time)[0].target_count == 3
    request = scale_pb2.ListScaleDecisionsRequest(service="s", limit=-5)
    code, reason, text = refused(controller.scale.ListScaleDecisions, request)
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_LIMIT")
    assert "limit = -5" in text


def test_the_last_decision_has_an_id_only_if_it_is_the_one_recorded_under_it(running):
    controller = running(SCALED)
    answer = controller.scale.SetScale(set_scale(count=3), timeout=60).scale
    (one,) = [d for d in recorded(controller) if d.decision_id == answer.decision.decision_id]
    assert one == answer.decision

    until(lambda: get(controller).decision.decide_time.ToNanoseconds()
          > one.decide_time.ToNanoseconds())  # fmt: skip
    last = get(controller).decision
    kept = {d.decision_id: d for d in recorded(controller)}
    assert last.decision_id == 0 or kept[last.decision_id] == last


def test_what_was_answered_outlives_the_controller(running, tmp_path):
    state = tmp_path / "state.db"
    controller = running(SCALED, state)
    policy = scale_pb2.ScalePolicy(service="s", max_count=7)
    put = scale_pb2.PutScalePolicyRequest(policy=policy, request_id="put")
    first = controller.scale.PutScalePolicy(put, timeout=60)
    controller.scale.SetScale(set_scale(count=6, reason="by hand"), timeout=60)
    pause = scale_pb2.PauseScaleRequest(service="s", request_id="pause")
    before = controller.scale.PauseScale(pause, timeout=60).scale
    last_id = recorded(controller)[0].decision_id
    controller.stop()

    controller = running(SCALED, state)

    after = get(controller)
    assert (after.etag, after.manual, after.pause) == (before.etag, before.manual, before.pause)
    assert controller.scale.PutScalePolicy(put, timeout=60) == first
    until(lambda: get(controller).target_count == 6)
    until(lambda: recorded(controller)[0].decision_id > last_id)


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
        controller.scale.SetScale(set_scale(count=count), timeout=60)
    before = get(controller)
    policy = scale_pb2.ScalePolicy(service="s", min_count=2, max_count=4)
    request = scale_pb2.PreviewScalePolicyRequest(policy=policy)

    answer = controller.scale.PreviewScalePolicy(request, timeout=60)

    assert [point.recorded_count for point in answer.points][-2:] == [3, 6]
    assert all(point.reason for point in answer.points)
    assert answer.preview_node_seconds >= 0
    after = get(controller)
    assert (after.etag, after.target_count) == (before.etag, 6)
    request.policy.min_count = 9
    code, reason, _ = refused(controller.scale.PreviewScalePolicy, request)
    assert (code, reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_POLICY")
