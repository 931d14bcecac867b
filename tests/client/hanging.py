"""Nodes of which the first to be asked by a test hangs."""

import threading

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
