"""Who listens to the changes of routes that many threads share."""

import sys
import threading

import pytest

from meshlb.client.routes import Routes


@pytest.fixture
def threads_switch_often():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("threads_switch_often")
def test_none_is_lost_or_kept_while_others_come_and_go():
    routes = Routes("s", "me", lambda routes, node: None)
    told = []
    together = threading.Barrier(8)

    def come_and_go(number):
        together.wait(60)
        for _ in range(200):
            stop = routes.listen(told.clear)
            stop()
        routes.listen(lambda: told.append(number))

    threads = [threading.Thread(target=come_and_go, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()
    routes.touch()
    assert sorted(told) == list(range(8))
