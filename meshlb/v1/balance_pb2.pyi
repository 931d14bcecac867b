from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from meshlb.v1 import load_pb2 as _load_pb2
from meshlb.v1 import routing_pb2 as _routing_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ReportLoadRequest(_message.Message):
    __slots__ = ("report", "goodbye")
    REPORT_FIELD_NUMBER: _ClassVar[int]
    GOODBYE_FIELD_NUMBER: _ClassVar[int]
    report: _load_pb2.LoadReport
    goodbye: Goodbye
    def __init__(self, report: _Optional[_Union[_load_pb2.LoadReport, _Mapping]] = ..., goodbye: _Optional[_Union[Goodbye, _Mapping]] = ...) -> None: ...

class Goodbye(_message.Message):
    __slots__ = ("drain",)
    DRAIN_FIELD_NUMBER: _ClassVar[int]
    drain: bool
    def __init__(self, drain: bool = ...) -> None: ...

class ReportLoadResponse(_message.Message):
    __slots__ = ("report_interval", "draining", "slot_count")
    REPORT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    DRAINING_FIELD_NUMBER: _ClassVar[int]
    SLOT_COUNT_FIELD_NUMBER: _ClassVar[int]
    report_interval: _duration_pb2.Duration
    draining: bool
    slot_count: int
    def __init__(self, report_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., draining: bool = ..., slot_count: _Optional[int] = ...) -> None: ...

class WatchRoutesRequest(_message.Message):
    __slots__ = ("subscribe", "ack")
    SUBSCRIBE_FIELD_NUMBER: _ClassVar[int]
    ACK_FIELD_NUMBER: _ClassVar[int]
    subscribe: Subscribe
    ack: TableAck
    def __init__(self, subscribe: _Optional[_Union[Subscribe, _Mapping]] = ..., ack: _Optional[_Union[TableAck, _Mapping]] = ...) -> None: ...

class Subscribe(_message.Message):
    __slots__ = ("service", "client_id", "zone")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    ZONE_FIELD_NUMBER: _ClassVar[int]
    service: str
    client_id: str
    zone: str
    def __init__(self, service: _Optional[str] = ..., client_id: _Optional[str] = ..., zone: _Optional[str] = ...) -> None: ...

class TableAck(_message.Message):
    __slots__ = ("epoch", "version", "error")
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    epoch: int
    version: int
    error: str
    def __init__(self, epoch: _Optional[int] = ..., version: _Optional[int] = ..., error: _Optional[str] = ...) -> None: ...

class WatchRoutesResponse(_message.Message):
    __slots__ = ("table", "share")
    TABLE_FIELD_NUMBER: _ClassVar[int]
    SHARE_FIELD_NUMBER: _ClassVar[int]
    table: _routing_pb2.RoutingTable
    share: _routing_pb2.LoadShare
    def __init__(self, table: _Optional[_Union[_routing_pb2.RoutingTable, _Mapping]] = ..., share: _Optional[_Union[_routing_pb2.LoadShare, _Mapping]] = ...) -> None: ...

class ReportCallsRequest(_message.Message):
    __slots__ = ("report",)
    REPORT_FIELD_NUMBER: _ClassVar[int]
    report: _load_pb2.CallReport
    def __init__(self, report: _Optional[_Union[_load_pb2.CallReport, _Mapping]] = ...) -> None: ...

class ReportCallsResponse(_message.Message):
    __slots__ = ("report_interval",)
    REPORT_INTERVAL_FIELD_NUMBER: _ClassVar[int]
    report_interval: _duration_pb2.Duration
    def __init__(self, report_interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ListServicesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ServiceStatus(_message.Message):
    __slots__ = ("service", "node_count", "active_node_count", "client_count", "in_flight_count", "waiting_count", "picker")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    NODE_COUNT_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_NODE_COUNT_FIELD_NUMBER: _ClassVar[int]
    CLIENT_COUNT_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_COUNT_FIELD_NUMBER: _ClassVar[int]
    WAITING_COUNT_FIELD_NUMBER: _ClassVar[int]
    PICKER_FIELD_NUMBER: _ClassVar[int]
    service: str
    node_count: int
    active_node_count: int
    client_count: int
    in_flight_count: float
    waiting_count: int
    picker: str
    def __init__(self, service: _Optional[str] = ..., node_count: _Optional[int] = ..., active_node_count: _Optional[int] = ..., client_count: _Optional[int] = ..., in_flight_count: _Optional[float] = ..., waiting_count: _Optional[int] = ..., picker: _Optional[str] = ...) -> None: ...

class RefusalCount(_message.Message):
    __slots__ = ("call", "reason", "count", "last_time", "last_identity", "last_peer")
    CALL_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    LAST_TIME_FIELD_NUMBER: _ClassVar[int]
    LAST_IDENTITY_FIELD_NUMBER: _ClassVar[int]
    LAST_PEER_FIELD_NUMBER: _ClassVar[int]
    call: str
    reason: str
    count: int
    last_time: _timestamp_pb2.Timestamp
    last_identity: str
    last_peer: str
    def __init__(self, call: _Optional[str] = ..., reason: _Optional[str] = ..., count: _Optional[int] = ..., last_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., last_identity: _Optional[str] = ..., last_peer: _Optional[str] = ...) -> None: ...

class ListServicesResponse(_message.Message):
    __slots__ = ("services", "refusals", "slowed_count")
    SERVICES_FIELD_NUMBER: _ClassVar[int]
    REFUSALS_FIELD_NUMBER: _ClassVar[int]
    SLOWED_COUNT_FIELD_NUMBER: _ClassVar[int]
    services: _containers.RepeatedCompositeFieldContainer[ServiceStatus]
    refusals: _containers.RepeatedCompositeFieldContainer[RefusalCount]
    slowed_count: int
    def __init__(self, services: _Optional[_Iterable[_Union[ServiceStatus, _Mapping]]] = ..., refusals: _Optional[_Iterable[_Union[RefusalCount, _Mapping]]] = ..., slowed_count: _Optional[int] = ...) -> None: ...

class ListNodesRequest(_message.Message):
    __slots__ = ("service",)
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    service: str
    def __init__(self, service: _Optional[str] = ...) -> None: ...

class NodeStatus(_message.Message):
    __slots__ = ("node", "state", "reason", "weight", "curve", "report", "report_age", "in_flight_count", "applied_version")
    NODE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    CURVE_FIELD_NUMBER: _ClassVar[int]
    REPORT_FIELD_NUMBER: _ClassVar[int]
    REPORT_AGE_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_COUNT_FIELD_NUMBER: _ClassVar[int]
    APPLIED_VERSION_FIELD_NUMBER: _ClassVar[int]
    node: _load_pb2.NodeInfo
    state: _routing_pb2.NodeState
    reason: str
    weight: float
    curve: _routing_pb2.SpeedCurve
    report: _load_pb2.LoadReport
    report_age: _duration_pb2.Duration
    in_flight_count: float
    applied_version: int
    def __init__(self, node: _Optional[_Union[_load_pb2.NodeInfo, _Mapping]] = ..., state: _Optional[_Union[_routing_pb2.NodeState, str]] = ..., reason: _Optional[str] = ..., weight: _Optional[float] = ..., curve: _Optional[_Union[_routing_pb2.SpeedCurve, _Mapping]] = ..., report: _Optional[_Union[_load_pb2.LoadReport, _Mapping]] = ..., report_age: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., in_flight_count: _Optional[float] = ..., applied_version: _Optional[int] = ...) -> None: ...

class ListNodesResponse(_message.Message):
    __slots__ = ("nodes",)
    NODES_FIELD_NUMBER: _ClassVar[int]
    nodes: _containers.RepeatedCompositeFieldContainer[NodeStatus]
    def __init__(self, nodes: _Optional[_Iterable[_Union[NodeStatus, _Mapping]]] = ...) -> None: ...

class DrainNodeRequest(_message.Message):
    __slots__ = ("service", "node_id", "request_id", "reason")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    service: str
    node_id: str
    request_id: str
    reason: str
    def __init__(self, service: _Optional[str] = ..., node_id: _Optional[str] = ..., request_id: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class DrainNodeResponse(_message.Message):
    __slots__ = ("acknowledged_count", "client_count", "in_flight_count", "connection_count", "drained", "waiting_for")
    ACKNOWLEDGED_COUNT_FIELD_NUMBER: _ClassVar[int]
    CLIENT_COUNT_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_COUNT_FIELD_NUMBER: _ClassVar[int]
    CONNECTION_COUNT_FIELD_NUMBER: _ClassVar[int]
    DRAINED_FIELD_NUMBER: _ClassVar[int]
    WAITING_FOR_FIELD_NUMBER: _ClassVar[int]
    acknowledged_count: int
    client_count: int
    in_flight_count: float
    connection_count: int
    drained: bool
    waiting_for: str
    def __init__(self, acknowledged_count: _Optional[int] = ..., client_count: _Optional[int] = ..., in_flight_count: _Optional[float] = ..., connection_count: _Optional[int] = ..., drained: bool = ..., waiting_for: _Optional[str] = ...) -> None: ...

class UndrainNodeRequest(_message.Message):
    __slots__ = ("service", "node_id", "request_id")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    service: str
    node_id: str
    request_id: str
    def __init__(self, service: _Optional[str] = ..., node_id: _Optional[str] = ..., request_id: _Optional[str] = ...) -> None: ...

class UndrainNodeResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
