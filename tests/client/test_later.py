"""What is to be done a little later is done, in order, by a thread that comes and goes."""

import threading
import weakref

from meshlb.client.later import Later
from tests.waiting import until


def threads():
    return [one for one in threading.enumerate() if one.name == "meshlb later's test: later"]


def test_each_is_done_in_the_order_that_it_is_due_and_the_thread_ends():
    later, done = Later("later's test"), []
    hold = threading.Event()
    later.do(0.0, lambda: hold.wait(60) and done.append("first"))
    later.do(0.02, lambda: done.append("last"))
    later.do(0.01, lambda: done.append("second"))
    assert len(threads()) == 1
    hold.set()
    until(lambda: len(done) == 3)
    assert done == ["first", "second", "last"]
    until(lambda: not threads())

    later.do(0.0, lambda: done.append("again"))
    until(lambda: done[-1] == "again")


def test_one_that_fails_does_not_keep_the_others():
    later, done = Later("later's test"), []
    later.do(0.0, lambda: 1 / 0)
    later.do(0.001, lambda: done.append("done"))
    until(lambda: done)


def test_one_that_is_due_sooner_than_what_is_waited_for_is_done_sooner():
    later, done = Later("later's test"), []
    later.do(3600.0, lambda: done.append("in an hour"))
    later.do(0.001, lambda: done.append("now"))
    until(lambda: done == ["now"])
    later.close()
    until(lambda: not threads())


def test_what_is_called_off_is_not_done_and_nothing_of_it_is_held():
    later, done = Later("later's test"), []
    hold, begun = threading.Event(), threading.Event()
    later.do(0.0, lambda: begun.set() or hold.wait(60))
    assert begun.wait(60)

    class Held:
        def __call__(self):
            done.append("called off")

    held = Held()
    gone = weakref.ref(held)
    due = later.do(0.0, held)
    later.do(0.0, lambda: done.append("done"))
    due.call_off()
    del held
    assert gone() is None
    hold.set()
    until(lambda: done)
    assert done == ["done"]
