"""Nodes of which the first to be asked by a test hangs."""

import threading

import grpc

MARKED = (("hang", "1"),)


class FirstHangs:
    """Lets the first marked call hang, at whichever of two nodes it comes to.

    Others pass, so that nothing rests on how fast they are: a call that a test did not make, such
    as the second attempt of the one before, is not marked.
    """

    def __init__(self, pair, at_message=None):
        self.nodes = []
        """Names of the nodes that marked calls came to."""
        self.released = threading.Event()
        self._first = threading.local()
        self._lock = threading.Lock()
        for node in (pair.a, pair.b):
            node.hook = self._hook(node.name, at_message)
            if at_message is not None:
                node.after_message = self._hang_at(at_message)

    def _hook(self, name, at_message):
        def hook(method, context):
            self._first.hangs = False
            if not set(MARKED) <= {tuple(one) for one in context.invocation_metadata()}:
                return
            with self._lock:
                self.nodes.append(name)
                self._first.hangs = len(self.nodes) == 1
            if self._first.hangs and at_message is None:
                self.released.wait(100)

        return hook

    def _hang_at(self, at_message):
        def after(n, context):
            if n == at_message and self._first.hangs:
                self.released.wait(100)

        return after


class HeldBack:
    """Holds what comes to either of two nodes until it is let go, or told to fail."""

    def __init__(self, pair):
        self._go = {"a": threading.Event(), "b": threading.Event()}
        self._pushback = {}
        pair.a.hook, pair.b.hook = self._hook("a"), self._hook("b")

    def let_go(self, name):
        self._go[name].set()

    def fail(self, name, pushback_ms=None):
        self._pushback[name] = pushback_ms
        self._go[name].set()

    def _hook(self, name):
        def hook(_, context):
            self._go[name].wait(100)
            if name in self._pushback:
                asked = self._pushback[name]
                if asked is not None:
                    context.set_trailing_metadata((("grpc-retry-pushback-ms", asked),))
                context.abort(grpc.StatusCode.UNAVAILABLE, "busy")

        return hook
