"""Controllers with TLS, and peers of all kinds."""

import contextlib

import grpc
import pytest
import structlog

from meshlb import settings
from meshlb.controller import app, audit, balance_service, gate, refusals
from meshlb.v1 import balance_pb2_grpc, scale_pb2_grpc
from tests.controller.conftest import Running
from tests.security.pki import Pki


@pytest.fixture(scope="session")
def pki(tmp_path_factory):
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="session")
def other_pki(tmp_path_factory):
    return Pki(tmp_path_factory.mktemp("other"), "other-ca")


class Secured(Running):
    """A controller as a configuration says, and stubs of whoever asks."""

    def __init__(self, raw, **named):
        super().__init__(settings.parse(raw), **named)
        self._opened = {}

    def channel_of(self, tls=None, address=None):
        """Return a channel of a peer; the same one each time."""
        address = address or self.address
        if (tls, address) in self._opened:
            return self._opened[tls, address]
        channel = self._opened[tls, address] = (
            grpc.insecure_channel(address)
            if tls is None
            else grpc.secure_channel(address, tls.current()[1])
        )
        self._exits.callback(channel.close)
        return channel

    def balance_of(self, tls=None, address=None):
        return balance_pb2_grpc.BalanceServiceStub(self.channel_of(tls, address))

    def scale_of(self, tls=None, address=None):
        return scale_pb2_grpc.ScaleServiceStub(self.channel_of(tls, address))


@pytest.fixture
def secured():
    """Return a function that starts a controller; all are stopped at the end."""
    with contextlib.ExitStack() as stack:

        def start(raw, **named):
            made = Secured(raw, **named)
            stack.callback(made.stop)
            return made

        yield start


@pytest.fixture
def logged(monkeypatch):
    """What the controller logs, as a list of dicts: whatever other tests have set up."""
    capture = structlog.testing.LogCapture()
    logger = structlog.wrap_logger(
        structlog.testing.CapturingLogger(),
        processors=[capture],
        wrapper_class=structlog.make_filtering_bound_logger(0),
        cache_logger_on_first_use=False,
    )
    for module in (app, audit, balance_service, gate, refusals):
        monkeypatch.setattr(module, "log", logger)
    return capture.entries
