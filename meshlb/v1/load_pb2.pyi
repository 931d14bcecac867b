from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Health(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    HEALTH_UNSPECIFIED: _ClassVar[Health]
    HEALTH_SERVING: _ClassVar[Health]
    HEALTH_NOT_SERVING: _ClassVar[Health]
HEALTH_UNSPECIFIED: Health
HEALTH_SERVING: Health
HEALTH_NOT_SERVING: Health

class NodeInfo(_message.Message):
    __slots__ = ("service", "node_id", "incarnation", "address", "authority", "zone", "labels", "slot_count")
    class LabelsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    INCARNATION_FIELD_NUMBER: _ClassVar[int]
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    AUTHORITY_FIELD_NUMBER: _ClassVar[int]
    ZONE_FIELD_NUMBER: _ClassVar[int]
    LABELS_FIELD_NUMBER: _ClassVar[int]
    SLOT_COUNT_FIELD_NUMBER: _ClassVar[int]
    service: str
    node_id: str
    incarnation: int
    address: str
    authority: str
    zone: str
    labels: _containers.ScalarMap[str, str]
    slot_count: int
    def __init__(self, service: _Optional[str] = ..., node_id: _Optional[str] = ..., incarnation: _Optional[int] = ..., address: _Optional[str] = ..., authority: _Optional[str] = ..., zone: _Optional[str] = ..., labels: _Optional[_Mapping[str, str]] = ..., slot_count: _Optional[int] = ...) -> None: ...

class LatencyBucket(_message.Message):
    __slots__ = ("in_flight_count", "call_count", "latency_sum")
    IN_FLIGHT_COUNT_FIELD_NUMBER: _ClassVar[int]
    CALL_COUNT_FIELD_NUMBER: _ClassVar[int]
    LATENCY_SUM_FIELD_NUMBER: _ClassVar[int]
    in_flight_count: int
    call_count: int
    latency_sum: _duration_pb2.Duration
    def __init__(self, in_flight_count: _Optional[int] = ..., call_count: _Optional[int] = ..., latency_sum: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class LoadReport(_message.Message):
    __slots__ = ("node", "observe_time", "health", "in_flight_count", "queued_count", "succeeded_count", "failed_count", "latency", "host_cpu_utilization", "host_memory_utilization", "process_cpu_cores", "process_memory_bytes", "gpu_utilization", "gpu_memory_utilization", "kv_cache_utilization", "application_utilization", "requests_per_second", "errors_per_second", "token_in_count", "token_out_count", "time_to_first_token", "named_metrics", "connection_count")
    class NamedMetricsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: float
        def __init__(self, key: _Optional[str] = ..., value: _Optional[float] = ...) -> None: ...
    NODE_FIELD_NUMBER: _ClassVar[int]
    OBSERVE_TIME_FIELD_NUMBER: _ClassVar[int]
    HEALTH_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_COUNT_FIELD_NUMBER: _ClassVar[int]
    QUEUED_COUNT_FIELD_NUMBER: _ClassVar[int]
    SUCCEEDED_COUNT_FIELD_NUMBER: _ClassVar[int]
    FAILED_COUNT_FIELD_NUMBER: _ClassVar[int]
    LATENCY_FIELD_NUMBER: _ClassVar[int]
    HOST_CPU_UTILIZATION_FIELD_NUMBER: _ClassVar[int]
    HOST_MEMORY_UTILIZATION_FIELD_NUMBER: _ClassVar[int]
    PROCESS_CPU_CORES_FIELD_NUMBER: _ClassVar[int]
    PROCESS_MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    GPU_UTILIZATION_FIELD_NUMBER: _ClassVar[int]
    GPU_MEMORY_UTILIZATION_FIELD_NUMBER: _ClassVar[int]
    KV_CACHE_UTILIZATION_FIELD_NUMBER: _ClassVar[int]
    APPLICATION_UTILIZATION_FIELD_NUMBER: _ClassVar[int]
    REQUESTS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    ERRORS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    TOKEN_IN_COUNT_FIELD_NUMBER: _ClassVar[int]
    TOKEN_OUT_COUNT_FIELD_NUMBER: _ClassVar[int]
    TIME_TO_FIRST_TOKEN_FIELD_NUMBER: _ClassVar[int]
    NAMED_METRICS_FIELD_NUMBER: _ClassVar[int]
    CONNECTION_COUNT_FIELD_NUMBER: _ClassVar[int]
    node: NodeInfo
    observe_time: _timestamp_pb2.Timestamp
    health: Health
    in_flight_count: int
    queued_count: int
    succeeded_count: int
    failed_count: int
    latency: _containers.RepeatedCompositeFieldContainer[LatencyBucket]
    host_cpu_utilization: float
    host_memory_utilization: float
    process_cpu_cores: float
    process_memory_bytes: int
    gpu_utilization: float
    gpu_memory_utilization: float
    kv_cache_utilization: float
    application_utilization: float
    requests_per_second: float
    errors_per_second: float
    token_in_count: int
    token_out_count: int
    time_to_first_token: _duration_pb2.Duration
    named_metrics: _containers.ScalarMap[str, float]
    connection_count: int
    def __init__(self, node: _Optional[_Union[NodeInfo, _Mapping]] = ..., observe_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., health: _Optional[_Union[Health, str]] = ..., in_flight_count: _Optional[int] = ..., queued_count: _Optional[int] = ..., succeeded_count: _Optional[int] = ..., failed_count: _Optional[int] = ..., latency: _Optional[_Iterable[_Union[LatencyBucket, _Mapping]]] = ..., host_cpu_utilization: _Optional[float] = ..., host_memory_utilization: _Optional[float] = ..., process_cpu_cores: _Optional[float] = ..., process_memory_bytes: _Optional[int] = ..., gpu_utilization: _Optional[float] = ..., gpu_memory_utilization: _Optional[float] = ..., kv_cache_utilization: _Optional[float] = ..., application_utilization: _Optional[float] = ..., requests_per_second: _Optional[float] = ..., errors_per_second: _Optional[float] = ..., token_in_count: _Optional[int] = ..., token_out_count: _Optional[int] = ..., time_to_first_token: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., named_metrics: _Optional[_Mapping[str, float]] = ..., connection_count: _Optional[int] = ...) -> None: ...

class NodeCalls(_message.Message):
    __slots__ = ("node_id", "in_flight_count", "started_count", "succeeded_count", "failed_count", "refused_count", "in_flight_time", "suspicion")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_COUNT_FIELD_NUMBER: _ClassVar[int]
    STARTED_COUNT_FIELD_NUMBER: _ClassVar[int]
    SUCCEEDED_COUNT_FIELD_NUMBER: _ClassVar[int]
    FAILED_COUNT_FIELD_NUMBER: _ClassVar[int]
    REFUSED_COUNT_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_TIME_FIELD_NUMBER: _ClassVar[int]
    SUSPICION_FIELD_NUMBER: _ClassVar[int]
    node_id: str
    in_flight_count: int
    started_count: int
    succeeded_count: int
    failed_count: int
    refused_count: int
    in_flight_time: _duration_pb2.Duration
    suspicion: str
    def __init__(self, node_id: _Optional[str] = ..., in_flight_count: _Optional[int] = ..., started_count: _Optional[int] = ..., succeeded_count: _Optional[int] = ..., failed_count: _Optional[int] = ..., refused_count: _Optional[int] = ..., in_flight_time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., suspicion: _Optional[str] = ...) -> None: ...

class CallReport(_message.Message):
    __slots__ = ("service", "client_id", "sequence", "nodes", "waiting_count", "applied_epoch", "applied_version")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    CLIENT_ID_FIELD_NUMBER: _ClassVar[int]
    SEQUENCE_FIELD_NUMBER: _ClassVar[int]
    NODES_FIELD_NUMBER: _ClassVar[int]
    WAITING_COUNT_FIELD_NUMBER: _ClassVar[int]
    APPLIED_EPOCH_FIELD_NUMBER: _ClassVar[int]
    APPLIED_VERSION_FIELD_NUMBER: _ClassVar[int]
    service: str
    client_id: str
    sequence: int
    nodes: _containers.RepeatedCompositeFieldContainer[NodeCalls]
    waiting_count: int
    applied_epoch: int
    applied_version: int
    def __init__(self, service: _Optional[str] = ..., client_id: _Optional[str] = ..., sequence: _Optional[int] = ..., nodes: _Optional[_Iterable[_Union[NodeCalls, _Mapping]]] = ..., waiting_count: _Optional[int] = ..., applied_epoch: _Optional[int] = ..., applied_version: _Optional[int] = ...) -> None: ...
