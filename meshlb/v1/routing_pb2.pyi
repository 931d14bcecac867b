from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class NodeState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    NODE_STATE_UNSPECIFIED: _ClassVar[NodeState]
    NODE_STATE_ACTIVE: _ClassVar[NodeState]
    NODE_STATE_UNKNOWN: _ClassVar[NodeState]
    NODE_STATE_DRAINING: _ClassVar[NodeState]
    NODE_STATE_UNHEALTHY: _ClassVar[NodeState]
    NODE_STATE_EJECTED: _ClassVar[NodeState]
NODE_STATE_UNSPECIFIED: NodeState
NODE_STATE_ACTIVE: NodeState
NODE_STATE_UNKNOWN: NodeState
NODE_STATE_DRAINING: NodeState
NODE_STATE_UNHEALTHY: NodeState
NODE_STATE_EJECTED: NodeState

class SpeedCurve(_message.Message):
    __slots__ = ("base", "slope", "knee")
    BASE_FIELD_NUMBER: _ClassVar[int]
    SLOPE_FIELD_NUMBER: _ClassVar[int]
    KNEE_FIELD_NUMBER: _ClassVar[int]
    base: _duration_pb2.Duration
    slope: _duration_pb2.Duration
    knee: float
    def __init__(self, base: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., slope: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., knee: _Optional[float] = ...) -> None: ...

class TableNode(_message.Message):
    __slots__ = ("node_id", "incarnation", "address", "authority", "state", "weight", "curve", "slot_count", "zone", "limit_count")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    AUTHORITY_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    CURVE_FIELD_NUMBER: _ClassVar[int]
    SLOT_COUNT_FIELD_NUMBER: _ClassVar[int]
    ZONE_FIELD_NUMBER: _ClassVar[int]
    LIMIT_COUNT_FIELD_NUMBER: _ClassVar[int]
    node_id: str
    incarnation: int
    address: str
    authority: str
    state: NodeState
    weight: float
    curve: SpeedCurve
    slot_count: int
    zone: str
    limit_count: int
    def __init__(self, node_id: _Optional[str] = ..., incarnation: _Optional[int] = ..., address: _Optional[str] = ..., authority: _Optional[str] = ..., state: _Optional[_Union[NodeState, str]] = ..., weight: _Optional[float] = ..., curve: _Optional[_Union[SpeedCurve, _Mapping]] = ..., slot_count: _Optional[int] = ..., zone: _Optional[str] = ..., limit_count: _Optional[int] = ...) -> None: ...

class Priority(_message.Message):
    __slots__ = ("name", "floor")
    NAME_FIELD_NUMBER: _ClassVar[int]
    FLOOR_FIELD_NUMBER: _ClassVar[int]
    name: str
    floor: float
    def __init__(self, name: _Optional[str] = ..., floor: _Optional[float] = ...) -> None: ...

class CallLimits(_message.Message):
    __slots__ = ("in_flight_count", "node_in_flight_count", "waiting_count", "priorities", "client_count")
    IN_FLIGHT_COUNT_FIELD_NUMBER: _ClassVar[int]
    NODE_IN_FLIGHT_COUNT_FIELD_NUMBER: _ClassVar[int]
    WAITING_COUNT_FIELD_NUMBER: _ClassVar[int]
    PRIORITIES_FIELD_NUMBER: _ClassVar[int]
    CLIENT_COUNT_FIELD_NUMBER: _ClassVar[int]
    in_flight_count: int
    node_in_flight_count: int
    waiting_count: int
    priorities: _containers.RepeatedCompositeFieldContainer[Priority]
    client_count: int
    def __init__(self, in_flight_count: _Optional[int] = ..., node_in_flight_count: _Optional[int] = ..., waiting_count: _Optional[int] = ..., priorities: _Optional[_Iterable[_Union[Priority, _Mapping]]] = ..., client_count: _Optional[int] = ...) -> None: ...

class RoutingTable(_message.Message):
    __slots__ = ("service", "controller_id", "epoch", "version", "complete", "nodes", "picker", "idempotent_methods", "starting", "limits")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    CONTROLLER_ID_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    PICKER_FIELD_NUMBER: _ClassVar[int]
    IDEMPOTENT_METHODS_FIELD_NUMBER: _ClassVar[int]
    STARTING_FIELD_NUMBER: _ClassVar[int]
    LIMITS_FIELD_NUMBER: _ClassVar[int]
    service: str
    controller_id: str
    epoch: int
    version: int
    complete: bool
    nodes: _containers.RepeatedCompositeFieldContainer[TableNode]
    picker: str
    idempotent_methods: _containers.RepeatedScalarFieldContainer[str]
    starting: bool
    limits: CallLimits
    def __init__(self, service: _Optional[str] = ..., controller_id: _Optional[str] = ..., epoch: _Optional[int] = ..., version: _Optional[int] = ..., complete: bool = ..., nodes: _Optional[_Iterable[_Union[TableNode, _Mapping]]] = ..., picker: _Optional[str] = ..., idempotent_methods: _Optional[_Iterable[str]] = ..., starting: bool = ..., limits: _Optional[_Union[CallLimits, _Mapping]] = ...) -> None: ...

class NodeInFlight(_message.Message):
    __slots__ = ("node_id", "in_flight_count")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_COUNT_FIELD_NUMBER: _ClassVar[int]
    node_id: str
    in_flight_count: float
    def __init__(self, node_id: _Optional[str] = ..., in_flight_count: _Optional[float] = ...) -> None: ...

class LoadShare(_message.Message):
    __slots__ = ("share", "nodes", "counted_sequence", "interval", "admitted_count")
    SHARE_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    COUNTED_SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    INTERVAL_FIELD_NUMBER: _ClassVar[int]
    ADMITTED_COUNT_FIELD_NUMBER: _ClassVar[int]
    share: float
    nodes: _containers.RepeatedCompositeFieldContainer[NodeInFlight]
    counted_sequence: int
    interval: _duration_pb2.Duration
    admitted_count: float
    def __init__(self, share: _Optional[float] = ..., nodes: _Optional[_Iterable[_Union[NodeInFlight, _Mapping]]] = ..., counted_sequence: _Optional[int] = ..., interval: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., admitted_count: _Optional[float] = ...) -> None: ...
