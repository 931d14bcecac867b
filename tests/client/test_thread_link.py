"""A link to one node, over a stand-in for gRPC's channel."""

from types import SimpleNamespace

from meshlb.client import link


class Channel:
    """Is polled until it has been looked at three times."""

    def __init__(self):
        self._connectivity_state = self
        self.looks = 0
        self.watching = []
        self.closed_at = None

    @property
    def polling(self):
        self.looks += 1
        return self.looks < 3

    def subscribe(self, callback, try_to_connect):
        self.watching.append(callback)

    def unsubscribe(self, callback):
        self.watching.remove(callback)

    def close(self):
        self.closed_at = self.looks


def test_a_channel_is_closed_once_grpc_has_ended_its_polling(world, monkeypatch):
    monkeypatch.setattr(link, "POLL_ENDS_S", 0.001)
    channel = Channel()
    routes = SimpleNamespace(link_changed=lambda node, link, state: None)
    made = link.ThreadLink(routes, None, channel)
    made.connect()
    assert len(channel.watching) == 1
    made.close()
    world.until(lambda: channel.closed_at == 3)
    assert channel.watching == []
