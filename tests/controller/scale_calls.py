"""Requests to ScaleService, for tests."""

import uuid

import grpc
import pytest

from meshlb import settings
from meshlb.errors import REASON_KEY
from meshlb.v1 import scale_pb2

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
    return running.scale.GetScale(scale_pb2.GetScaleRequest(service=service), timeout=60).scale


def recorded(running, **fields):
    request = scale_pb2.ListScaleDecisionsRequest(service="s", **fields)
    return running.scale.ListScaleDecisions(request, timeout=60).decisions


def refused(call, *args):
    with pytest.raises(grpc.RpcError) as caught:
        call(*args, timeout=60)
    reason = dict(caught.value.trailing_metadata()).get(REASON_KEY)
    return caught.value.code(), reason, caught.value.details()


def scales(controller):
    return controller.scale.ListScales(scale_pb2.ListScalesRequest(), timeout=60).scales
