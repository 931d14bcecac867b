"""Keeps Routes fresh from a few daemon threads: watches one controller, reports to all.

Used by channels of both kinds. One thread watches (WatchRoutes), going down the list of controllers
and back to the first when it is there again; one a controller reports the client's own counts
(ReportCalls); one looks at what calls do. Nothing that happens here stops a call: the last table
stays until a better one comes. Long because the threads look at each other's marks.
"""

from __future__ import annotations

import dataclasses
import logging
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc

from meshlb import plugins, table_wire, wire
from meshlb.client import no_table
from meshlb.client.judgement import IDLE_LOOK_S, LOOK_S
from meshlb.client.routes import Routes
from meshlb.client.table_choice import TableChoice
from meshlb.client.target import Target
from meshlb.client.view import PICKERS
from meshlb.errors import InvalidInputError
from meshlb.model import CallReport
from meshlb.security.client_tls import Credentials, bearer_of, channel_credentials
from meshlb.v1 import balance_pb2, balance_pb2_grpc, routing_pb2
from meshlb.wire_time import seconds

log = logging.getLogger(__name__)  # a library's: silent unless the caller's program says otherwise

FIRST_DELAY_S, LAST_DELAY_S = 0.05, 2.0
SILENCE_S = 5.0
"""A controller that says nothing for so long hangs: the next one is asked. The only one hangs if it
has sent shares and sends no more; it may also have nothing to say yet."""
RETURN_AFTER_S = 5.0
"""A controller higher on the list must take reports for so long before the watch returns to it."""
SILENT_INTERVALS = 20
"""As many share intervals, where these are long."""
HUNG_S = 30.0
"""A controller that hung is not returned to for so long, though it may still take reports."""
STEADY_S = 1.0
"""A stream that lasted so long was in order: the back-off begins anew."""
IDLE_REPORT_S = 1.0
"""Unchanged counts are told this often, to keep the lease."""

_OPTIONS = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.min_reconnect_backoff_ms", 2000),
    ("grpc.max_reconnect_backoff_ms", 2000),
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", 4 * 1024 * 1024),
)


def _told(report: CallReport) -> tuple[Any, ...]:
    return report.nodes, report.waiting, report.applied


class Subscription:
    """Threads that serve one Routes; start and close may be called from any thread, once each."""

    def __init__(
        self, routes: Routes, target: Target, credentials: Credentials | None, zone: str
    ) -> None:
        self._routes = routes
        self._target = target
        self._credentials = credentials
        self._zone = zone
        self._choice = TableChoice(routes)
        self._stop = threading.Event()
        self._channels: dict[str, grpc.Channel] = {}
        self._reporting: dict[str, grpc.Call] = {}
        self._errors: dict[str, str] = {}
        self._taken_since: dict[str, float] = {}
        """Controllers that take our reports, and since when."""
        self._watching: str | None = None
        self._watch: grpc.Call | None = None
        self._heard_at: float | None = None
        """When the watched controller last said something, or was asked if there are others; None:
        it is the only one, and has sent no share yet."""
        self._silence_s = SILENCE_S
        self._waits_since: float | None = None
        """Since when calls wait and the table has no node; None: they do not."""
        self._hung_until: dict[str, float] = {}
        """Controllers that hung, and until when the watch does not return to them."""
        self._back_to: int | None = None
        """Controller to watch next, if it is not the next on the list."""

    def start(self) -> None:
        """Start the threads."""
        for controller in self._target.controllers:
            self._channels[controller] = self._open(controller)
            self._spawn(f"report to {controller}", self._report_to, controller)
        self._spawn("watch", self._watch_all)
        self._spawn("look", self._look)

    def renew(self) -> None:
        """Open all connections anew, with the credentials as they are now.

        The last table and the counts stay; streams are opened again on the new connections.
        """
        for controller in self._target.controllers:
            # Never closed under a thread that is about to use it: gRPC does, once nobody holds it.
            self._channels[controller] = self._open(controller)
        self._watch_anew()
        for call in list(self._reporting.values()):
            call.cancel()

    def _watch_anew(self) -> None:
        """End the watch there is; the same controller is watched next."""
        watch, watching = self._watch, self._watching
        if watch is not None and watching is not None:
            self._back_to = self._target.controllers.index(watching)
            watch.cancel()

    def close(self) -> None:
        """End the threads soon, and the connections at once."""
        self._stop.set()
        for channel in self._channels.values():
            channel.close()

    def _spawn(self, name: str, run: Callable[..., None], *args: str) -> None:
        name = f"meshlb {self._target.service}: {name}"
        threading.Thread(target=run, args=args, name=name, daemon=True).start()

    def _open(self, controller: str) -> grpc.Channel:
        if self._credentials is None:
            return grpc.insecure_channel(controller, _OPTIONS)
        return grpc.secure_channel(controller, channel_credentials(self._credentials), _OPTIONS)

    def _bearer(self) -> Any:
        return bearer_of(self._credentials) or None

    def _look(self) -> None:
        """Look at what calls do: in a thread of its own, since a controller may hang."""
        while not self._stop.wait(LOOK_S if self._routes.client.in_flight else IDLE_LOOK_S):
            try:
                self._routes.expire(time.perf_counter())
                self._choice.look()
            except Exception:
                log.exception("looking at the nodes of %s failed", self._target.service)

    # --- watching --------------------------------------------------------------------------

    def _watch_all(self) -> None:
        controllers = self._target.controllers
        at = failures = 0
        delay_s = FIRST_DELAY_S
        while not self._stop.is_set():
            began_at = time.perf_counter()
            served = self._watch_one(controllers[at])
            back, self._back_to = self._back_to, None
            if back is not None:
                at, failures = back, 0
                continue
            if served and time.perf_counter() - began_at > STEADY_S:
                failures, delay_s = 0, FIRST_DELAY_S
            failures += 1
            at = (at + 1) % len(controllers)
            if failures % len(controllers) == 0 and not self._stop.is_set():
                self._routes.refuse(no_table.text(self._target, self._errors))
                self._stop.wait(delay_s * self._routes.rng.uniform(0.8, 1.2))
                delay_s = min(LAST_DELAY_S, delay_s * 2)

    def _watch_one(self, controller: str) -> bool:
        """Watch one controller until that ends; return whether it sent anything."""
        asks: queue.SimpleQueue[balance_pb2.WatchRoutesRequest | None] = queue.SimpleQueue()
        subscribe = balance_pb2.Subscribe(
            service=self._target.service, client_id=self._routes.client_id, zone=self._zone
        )
        asks.put(balance_pb2.WatchRoutesRequest(subscribe=subscribe))
        served = False
        try:
            channel = self._channels[controller]
            stub = balance_pb2_grpc.BalanceServiceStub(channel)
            call = stub.WatchRoutes(iter(asks.get, None), metadata=self._bearer())
            self._watching, self._watch, self._heard_at = controller, call, self._now_if_others()
            if self._channels[controller] is not channel:  # renewed just now
                self._watch_anew()
            for message in call:
                served = True
                self._errors.pop(controller, None)
                if message.HasField("table"):
                    self._heard_at = self._now_if_others()
                    asks.put(self._take_table(message.table))
                else:
                    self._heard_at = time.perf_counter()
                    self._take_share(message)
            self._errors[controller] = "ended the stream"
        except grpc.RpcError as error:
            self._errors[controller] = no_table.failure(
                error, controller, self._credentials, ask=self._is_new(controller)
            )
        except ValueError:  # the channel was closed under us
            self._stop.set()
        except Exception as error:  # whatever it was, calls go on with the last table
            self._errors[controller] = repr(error)
            log.exception("what controller %s sent could not be used", controller)
        finally:
            self._watching = self._watch = self._heard_at = None
            self._choice.drop()
            self._routes.starting = False  # calls do not wait on the word of one that has gone
            asks.put(None)
        if served and not self._stop.is_set():
            log.info("controller %s lost: %s", controller, self._errors.get(controller))
        return served

    def _take_table(self, message: routing_pb2.RoutingTable) -> balance_pb2.WatchRoutesRequest:
        ack = balance_pb2.TableAck(epoch=message.epoch, version=message.version)
        try:
            table = table_wire.table_from_pb(message)
            if table.service != self._target.service:
                raise InvalidInputError(
                    f"table.service = {table.service!r}: {self._target.service!r}"
                )
            if table.picker not in ("", *plugins.names(PICKERS)):  # of a controller that is newer
                log.warning("picker %r is not known here: the default is used", table.picker)
                table = dataclasses.replace(table, picker="")
            ack.error = self._choice.take(table)
        except InvalidInputError as error:
            ack.error = str(error)[:1000]
            log.warning("table of %s refused: %s", self._target.service, ack.error)
        return balance_pb2.WatchRoutesRequest(ack=ack)

    def _take_share(self, message: balance_pb2.WatchRoutesResponse) -> None:
        try:
            share = table_wire.share_from_pb(message.share)
        except InvalidInputError as error:
            log.warning("share of %s refused: %s", self._target.service, error)
            return
        self._silence_s = max(SILENCE_S, SILENT_INTERVALS * share.interval_s)
        self._routes.apply_share(share, time.perf_counter())

    def _is_new(self, controller: str) -> bool:
        """Return whether a controller has never been heard, and there is nothing to go on with."""
        heard = controller in self._taken_since or self._routes.table is not None
        return not heard and not self._stop.is_set()

    def _knows_no_node(self, now: float) -> bool:
        """Return whether calls have waited for long, and another controller may know a node."""
        routes = self._routes
        table = routes.table
        waits = table is not None and not table.nodes and routes.waiting > 0
        if not waits or len(self._target.controllers) == 1:
            self._waits_since = None
        elif self._waits_since is None:
            self._waits_since = now
        elif now - self._waits_since > SILENCE_S:
            self._waits_since = None
            return True
        return False

    def _now_if_others(self) -> float | None:
        """Return now; None if there is no other controller that may know more of the service."""
        return time.perf_counter() if len(self._target.controllers) > 1 else self._heard_at

    # --- reporting -------------------------------------------------------------------------

    def _report_to(self, controller: str) -> None:
        delay_s = FIRST_DELAY_S
        interval = [0.1]
        while not self._stop.is_set():
            ended = threading.Event()
            try:
                channel = self._channels[controller]
                stub = balance_pb2_grpc.BalanceServiceStub(channel)
                reports = self._reports(interval, ended)
                call = stub.ReportCalls(reports, metadata=self._bearer())
                self._reporting[controller] = call
                if self._channels[controller] is not channel:  # renewed just now
                    call.cancel()
                for answer in call:
                    interval[0] = max(0.02, seconds(answer.report_interval))
                    self._taken_since.setdefault(controller, time.perf_counter())
                    delay_s = FIRST_DELAY_S
            except grpc.RpcError as error:
                log.debug("report stream to %s lost: %s", controller, error.details())
            except ValueError:  # the channel was closed under us
                return
            except Exception:
                log.exception("reporting to %s failed", controller)
            finally:
                ended.set()
                self._taken_since.pop(controller, None)
            self._look_after_watch(time.perf_counter())
            self._stop.wait(delay_s * self._routes.rng.uniform(0.8, 1.2))
            delay_s = min(LAST_DELAY_S, delay_s * 2)

    def _reports(
        self, interval: list[float], ended: threading.Event
    ) -> Iterator[balance_pb2.ReportCallsRequest]:
        sent: CallReport | None = None
        sent_at = 0.0
        while not (self._stop.is_set() or ended.is_set()):
            now = time.perf_counter()
            self._look_after_watch(now)
            report = self._routes.call_report(now)
            changed = sent is None or _told(report) != _told(sent)
            if changed or now - sent_at >= IDLE_REPORT_S:
                sent, sent_at = report, now
                yield balance_pb2.ReportCallsRequest(report=wire.call_report_to_pb(report))
            self._stop.wait(interval[0])

    def _look_after_watch(self, now: float) -> None:
        """Leave a watched controller that hangs, or that a better one can replace."""
        watch, watching = self._watch, self._watching
        if watch is None or watching is None:
            return
        heard_at = self._heard_at
        problem = ""
        if heard_at is not None and now - heard_at > self._silence_s:
            problem = f"silent for {self._silence_s:g} s"
        elif self._knows_no_node(now):
            problem = f"knows no node, for {SILENCE_S:g} s in which calls waited"
        if problem:
            self._errors[watching] = problem
            self._hung_until[watching] = now + HUNG_S
            self._heard_at = None
            watch.cancel()
            return
        for index in range(self._target.controllers.index(watching)):
            better = self._target.controllers[index]
            since = self._taken_since.get(better)
            steady = since is not None and now - since > RETURN_AFTER_S
            if steady and now > self._hung_until.get(better, 0.0):
                self._back_to = index
                watch.cancel()
                return
