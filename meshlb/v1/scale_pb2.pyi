from google.protobuf import duration_pb2 as _duration_pb2
from google.protobuf import struct_pb2 as _struct_pb2
from google.protobuf import timestamp_pb2 as _timestamp_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ScaleMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SCALE_MODE_UNSPECIFIED: _ClassVar[ScaleMode]
    SCALE_MODE_OBSERVE: _ClassVar[ScaleMode]
    SCALE_MODE_ACTIVE: _ClassVar[ScaleMode]

class VerticalMode(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VERTICAL_MODE_UNSPECIFIED: _ClassVar[VerticalMode]
    VERTICAL_MODE_OFF: _ClassVar[VerticalMode]
    VERTICAL_MODE_RECOMMEND: _ClassVar[VerticalMode]
    VERTICAL_MODE_APPLY: _ClassVar[VerticalMode]

class ScaleVerb(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SCALE_VERB_UNSPECIFIED: _ClassVar[ScaleVerb]
    SCALE_VERB_SET: _ClassVar[ScaleVerb]
    SCALE_VERB_AT_LEAST: _ClassVar[ScaleVerb]
    SCALE_VERB_AT_MOST: _ClassVar[ScaleVerb]
    SCALE_VERB_REJECT: _ClassVar[ScaleVerb]

class ReplicaState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REPLICA_STATE_UNSPECIFIED: _ClassVar[ReplicaState]
    REPLICA_STATE_STARTING: _ClassVar[ReplicaState]
    REPLICA_STATE_READY: _ClassVar[ReplicaState]
    REPLICA_STATE_DRAINING: _ClassVar[ReplicaState]
    REPLICA_STATE_STOPPING: _ClassVar[ReplicaState]
    REPLICA_STATE_LOST: _ClassVar[ReplicaState]
SCALE_MODE_UNSPECIFIED: ScaleMode
SCALE_MODE_OBSERVE: ScaleMode
SCALE_MODE_ACTIVE: ScaleMode
VERTICAL_MODE_UNSPECIFIED: VerticalMode
VERTICAL_MODE_OFF: VerticalMode
VERTICAL_MODE_RECOMMEND: VerticalMode
VERTICAL_MODE_APPLY: VerticalMode
SCALE_VERB_UNSPECIFIED: ScaleVerb
SCALE_VERB_SET: ScaleVerb
SCALE_VERB_AT_LEAST: ScaleVerb
SCALE_VERB_AT_MOST: ScaleVerb
SCALE_VERB_REJECT: ScaleVerb
REPLICA_STATE_UNSPECIFIED: ReplicaState
REPLICA_STATE_STARTING: ReplicaState
REPLICA_STATE_READY: ReplicaState
REPLICA_STATE_DRAINING: ReplicaState
REPLICA_STATE_STOPPING: ReplicaState
REPLICA_STATE_LOST: ReplicaState

class ScaleRule(_message.Message):
    __slots__ = ("kind", "name", "params")
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PARAMS_FIELD_NUMBER: _ClassVar[int]
    kind: str
    name: str
    params: _struct_pb2.Struct
    def __init__(self, kind: _Optional[str] = ..., name: _Optional[str] = ..., params: _Optional[_Union[_struct_pb2.Struct, _Mapping]] = ...) -> None: ...

class ScalePolicy(_message.Message):
    __slots__ = ("service", "mode", "min_count", "max_count", "rules", "stable_window", "panic_window", "panic_threshold", "scale_in_window", "scale_out_window", "tolerance", "scale_out_step", "scale_in_step", "rate_period", "consolidation_limit", "start_limit", "drain_limit", "idle_limit", "vertical")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    MIN_COUNT_FIELD_NUMBER: _ClassVar[int]
    MAX_COUNT_FIELD_NUMBER: _ClassVar[int]
    RULES_FIELD_NUMBER: _ClassVar[int]
    STABLE_WINDOW_FIELD_NUMBER: _ClassVar[int]
    PANIC_WINDOW_FIELD_NUMBER: _ClassVar[int]
    PANIC_THRESHOLD_FIELD_NUMBER: _ClassVar[int]
    SCALE_IN_WINDOW_FIELD_NUMBER: _ClassVar[int]
    SCALE_OUT_WINDOW_FIELD_NUMBER: _ClassVar[int]
    TOLERANCE_FIELD_NUMBER: _ClassVar[int]
    SCALE_OUT_STEP_FIELD_NUMBER: _ClassVar[int]
    SCALE_IN_STEP_FIELD_NUMBER: _ClassVar[int]
    RATE_PERIOD_FIELD_NUMBER: _ClassVar[int]
    CONSOLIDATION_LIMIT_FIELD_NUMBER: _ClassVar[int]
    START_LIMIT_FIELD_NUMBER: _ClassVar[int]
    DRAIN_LIMIT_FIELD_NUMBER: _ClassVar[int]
    IDLE_LIMIT_FIELD_NUMBER: _ClassVar[int]
    VERTICAL_FIELD_NUMBER: _ClassVar[int]
    service: str
    mode: ScaleMode
    min_count: int
    max_count: int
    rules: _containers.RepeatedCompositeFieldContainer[ScaleRule]
    stable_window: _duration_pb2.Duration
    panic_window: _duration_pb2.Duration
    panic_threshold: float
    scale_in_window: _duration_pb2.Duration
    scale_out_window: _duration_pb2.Duration
    tolerance: float
    scale_out_step: int
    scale_in_step: int
    rate_period: _duration_pb2.Duration
    consolidation_limit: float
    start_limit: _duration_pb2.Duration
    drain_limit: _duration_pb2.Duration
    idle_limit: _duration_pb2.Duration
    vertical: VerticalMode
    def __init__(self, service: _Optional[str] = ..., mode: _Optional[_Union[ScaleMode, str]] = ..., min_count: _Optional[int] = ..., max_count: _Optional[int] = ..., rules: _Optional[_Iterable[_Union[ScaleRule, _Mapping]]] = ..., stable_window: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., panic_window: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., panic_threshold: _Optional[float] = ..., scale_in_window: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., scale_out_window: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., tolerance: _Optional[float] = ..., scale_out_step: _Optional[int] = ..., scale_in_step: _Optional[int] = ..., rate_period: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., consolidation_limit: _Optional[float] = ..., start_limit: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., drain_limit: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., idle_limit: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., vertical: _Optional[_Union[VerticalMode, str]] = ...) -> None: ...

class ManualScale(_message.Message):
    __slots__ = ("count", "min_count", "max_count", "expire_time", "reason")
    COUNT_FIELD_NUMBER: _ClassVar[int]
    MIN_COUNT_FIELD_NUMBER: _ClassVar[int]
    MAX_COUNT_FIELD_NUMBER: _ClassVar[int]
    EXPIRE_TIME_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    count: int
    min_count: int
    max_count: int
    expire_time: _timestamp_pb2.Timestamp
    reason: str
    def __init__(self, count: _Optional[int] = ..., min_count: _Optional[int] = ..., max_count: _Optional[int] = ..., expire_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., reason: _Optional[str] = ...) -> None: ...

class ScalePause(_message.Message):
    __slots__ = ("scale_out", "scale_in", "reason")
    SCALE_OUT_FIELD_NUMBER: _ClassVar[int]
    SCALE_IN_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    scale_out: bool
    scale_in: bool
    reason: str
    def __init__(self, scale_out: bool = ..., scale_in: bool = ..., reason: _Optional[str] = ...) -> None: ...

class Replica(_message.Message):
    __slots__ = ("replica_id", "node_id", "state", "reason", "state_time", "in_flight_count")
    REPLICA_ID_FIELD_NUMBER: _ClassVar[int]
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    STATE_TIME_FIELD_NUMBER: _ClassVar[int]
    IN_FLIGHT_COUNT_FIELD_NUMBER: _ClassVar[int]
    replica_id: str
    node_id: str
    state: ReplicaState
    reason: str
    state_time: _timestamp_pb2.Timestamp
    in_flight_count: float
    def __init__(self, replica_id: _Optional[str] = ..., node_id: _Optional[str] = ..., state: _Optional[_Union[ReplicaState, str]] = ..., reason: _Optional[str] = ..., state_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., in_flight_count: _Optional[float] = ...) -> None: ...

class Resources(_message.Message):
    __slots__ = ("node_id", "slot_count", "cpu_cores", "memory_bytes", "current_slot_count", "current_cpu_cores", "reason", "applied")
    NODE_ID_FIELD_NUMBER: _ClassVar[int]
    SLOT_COUNT_FIELD_NUMBER: _ClassVar[int]
    CPU_CORES_FIELD_NUMBER: _ClassVar[int]
    MEMORY_BYTES_FIELD_NUMBER: _ClassVar[int]
    CURRENT_SLOT_COUNT_FIELD_NUMBER: _ClassVar[int]
    CURRENT_CPU_CORES_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    node_id: str
    slot_count: int
    cpu_cores: float
    memory_bytes: int
    current_slot_count: int
    current_cpu_cores: float
    reason: str
    applied: bool
    def __init__(self, node_id: _Optional[str] = ..., slot_count: _Optional[int] = ..., cpu_cores: _Optional[float] = ..., memory_bytes: _Optional[int] = ..., current_slot_count: _Optional[int] = ..., current_cpu_cores: _Optional[float] = ..., reason: _Optional[str] = ..., applied: bool = ...) -> None: ...

class RuleWant(_message.Message):
    __slots__ = ("rule", "verb", "count", "reason")
    RULE_FIELD_NUMBER: _ClassVar[int]
    VERB_FIELD_NUMBER: _ClassVar[int]
    COUNT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    rule: str
    verb: ScaleVerb
    count: int
    reason: str
    def __init__(self, rule: _Optional[str] = ..., verb: _Optional[_Union[ScaleVerb, str]] = ..., count: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class ScaleClamp(_message.Message):
    __slots__ = ("name", "before_count", "after_count", "reason")
    NAME_FIELD_NUMBER: _ClassVar[int]
    BEFORE_COUNT_FIELD_NUMBER: _ClassVar[int]
    AFTER_COUNT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    name: str
    before_count: int
    after_count: int
    reason: str
    def __init__(self, name: _Optional[str] = ..., before_count: _Optional[int] = ..., after_count: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class ScaleDecision(_message.Message):
    __slots__ = ("decision_id", "service", "decide_time", "mode", "target_count", "previous_count", "reason", "wants", "clamps", "record_json")
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    DECIDE_TIME_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    TARGET_COUNT_FIELD_NUMBER: _ClassVar[int]
    PREVIOUS_COUNT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    WANTS_FIELD_NUMBER: _ClassVar[int]
    CLAMPS_FIELD_NUMBER: _ClassVar[int]
    RECORD_JSON_FIELD_NUMBER: _ClassVar[int]
    decision_id: int
    service: str
    decide_time: _timestamp_pb2.Timestamp
    mode: ScaleMode
    target_count: int
    previous_count: int
    reason: str
    wants: _containers.RepeatedCompositeFieldContainer[RuleWant]
    clamps: _containers.RepeatedCompositeFieldContainer[ScaleClamp]
    record_json: str
    def __init__(self, decision_id: _Optional[int] = ..., service: _Optional[str] = ..., decide_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., mode: _Optional[_Union[ScaleMode, str]] = ..., target_count: _Optional[int] = ..., previous_count: _Optional[int] = ..., reason: _Optional[str] = ..., wants: _Optional[_Iterable[_Union[RuleWant, _Mapping]]] = ..., clamps: _Optional[_Iterable[_Union[ScaleClamp, _Mapping]]] = ..., record_json: _Optional[str] = ...) -> None: ...

class ScaleStatus(_message.Message):
    __slots__ = ("service", "etag", "target_count", "ready_count", "starting_count", "draining_count", "min_count", "max_count", "mode", "manual", "pause", "decision", "replicas", "resources", "actuator", "problem", "start_up_time")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    TARGET_COUNT_FIELD_NUMBER: _ClassVar[int]
    READY_COUNT_FIELD_NUMBER: _ClassVar[int]
    STARTING_COUNT_FIELD_NUMBER: _ClassVar[int]
    DRAINING_COUNT_FIELD_NUMBER: _ClassVar[int]
    MIN_COUNT_FIELD_NUMBER: _ClassVar[int]
    MAX_COUNT_FIELD_NUMBER: _ClassVar[int]
    MODE_FIELD_NUMBER: _ClassVar[int]
    MANUAL_FIELD_NUMBER: _ClassVar[int]
    PAUSE_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    REPLICAS_FIELD_NUMBER: _ClassVar[int]
    RESOURCES_FIELD_NUMBER: _ClassVar[int]
    ACTUATOR_FIELD_NUMBER: _ClassVar[int]
    PROBLEM_FIELD_NUMBER: _ClassVar[int]
    START_UP_TIME_FIELD_NUMBER: _ClassVar[int]
    service: str
    etag: str
    target_count: int
    ready_count: int
    starting_count: int
    draining_count: int
    min_count: int
    max_count: int
    mode: ScaleMode
    manual: ManualScale
    pause: ScalePause
    decision: ScaleDecision
    replicas: _containers.RepeatedCompositeFieldContainer[Replica]
    resources: _containers.RepeatedCompositeFieldContainer[Resources]
    actuator: str
    problem: str
    start_up_time: _duration_pb2.Duration
    def __init__(self, service: _Optional[str] = ..., etag: _Optional[str] = ..., target_count: _Optional[int] = ..., ready_count: _Optional[int] = ..., starting_count: _Optional[int] = ..., draining_count: _Optional[int] = ..., min_count: _Optional[int] = ..., max_count: _Optional[int] = ..., mode: _Optional[_Union[ScaleMode, str]] = ..., manual: _Optional[_Union[ManualScale, _Mapping]] = ..., pause: _Optional[_Union[ScalePause, _Mapping]] = ..., decision: _Optional[_Union[ScaleDecision, _Mapping]] = ..., replicas: _Optional[_Iterable[_Union[Replica, _Mapping]]] = ..., resources: _Optional[_Iterable[_Union[Resources, _Mapping]]] = ..., actuator: _Optional[str] = ..., problem: _Optional[str] = ..., start_up_time: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class GetScaleRequest(_message.Message):
    __slots__ = ("service",)
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    service: str
    def __init__(self, service: _Optional[str] = ...) -> None: ...

class GetScaleResponse(_message.Message):
    __slots__ = ("scale",)
    SCALE_FIELD_NUMBER: _ClassVar[int]
    scale: ScaleStatus
    def __init__(self, scale: _Optional[_Union[ScaleStatus, _Mapping]] = ...) -> None: ...

class ListScalesRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ListScalesResponse(_message.Message):
    __slots__ = ("scales",)
    SCALES_FIELD_NUMBER: _ClassVar[int]
    scales: _containers.RepeatedCompositeFieldContainer[ScaleStatus]
    def __init__(self, scales: _Optional[_Iterable[_Union[ScaleStatus, _Mapping]]] = ...) -> None: ...

class SetScaleRequest(_message.Message):
    __slots__ = ("service", "request_id", "etag", "manual")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    MANUAL_FIELD_NUMBER: _ClassVar[int]
    service: str
    request_id: str
    etag: str
    manual: ManualScale
    def __init__(self, service: _Optional[str] = ..., request_id: _Optional[str] = ..., etag: _Optional[str] = ..., manual: _Optional[_Union[ManualScale, _Mapping]] = ...) -> None: ...

class SetScaleResponse(_message.Message):
    __slots__ = ("scale",)
    SCALE_FIELD_NUMBER: _ClassVar[int]
    scale: ScaleStatus
    def __init__(self, scale: _Optional[_Union[ScaleStatus, _Mapping]] = ...) -> None: ...

class PutScalePolicyRequest(_message.Message):
    __slots__ = ("policy", "request_id", "etag")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    policy: ScalePolicy
    request_id: str
    etag: str
    def __init__(self, policy: _Optional[_Union[ScalePolicy, _Mapping]] = ..., request_id: _Optional[str] = ..., etag: _Optional[str] = ...) -> None: ...

class PutScalePolicyResponse(_message.Message):
    __slots__ = ("policy", "etag")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    policy: ScalePolicy
    etag: str
    def __init__(self, policy: _Optional[_Union[ScalePolicy, _Mapping]] = ..., etag: _Optional[str] = ...) -> None: ...

class GetScalePolicyRequest(_message.Message):
    __slots__ = ("service",)
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    service: str
    def __init__(self, service: _Optional[str] = ...) -> None: ...

class GetScalePolicyResponse(_message.Message):
    __slots__ = ("policy", "etag", "source")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    policy: ScalePolicy
    etag: str
    source: str
    def __init__(self, policy: _Optional[_Union[ScalePolicy, _Mapping]] = ..., etag: _Optional[str] = ..., source: _Optional[str] = ...) -> None: ...

class PauseScaleRequest(_message.Message):
    __slots__ = ("service", "request_id", "etag", "pause")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    PAUSE_FIELD_NUMBER: _ClassVar[int]
    service: str
    request_id: str
    etag: str
    pause: ScalePause
    def __init__(self, service: _Optional[str] = ..., request_id: _Optional[str] = ..., etag: _Optional[str] = ..., pause: _Optional[_Union[ScalePause, _Mapping]] = ...) -> None: ...

class PauseScaleResponse(_message.Message):
    __slots__ = ("scale",)
    SCALE_FIELD_NUMBER: _ClassVar[int]
    scale: ScaleStatus
    def __init__(self, scale: _Optional[_Union[ScaleStatus, _Mapping]] = ...) -> None: ...

class ResumeScaleRequest(_message.Message):
    __slots__ = ("service", "request_id", "etag", "scale_out", "scale_in")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    ETAG_FIELD_NUMBER: _ClassVar[int]
    SCALE_OUT_FIELD_NUMBER: _ClassVar[int]
    SCALE_IN_FIELD_NUMBER: _ClassVar[int]
    service: str
    request_id: str
    etag: str
    scale_out: bool
    scale_in: bool
    def __init__(self, service: _Optional[str] = ..., request_id: _Optional[str] = ..., etag: _Optional[str] = ..., scale_out: bool = ..., scale_in: bool = ...) -> None: ...

class ResumeScaleResponse(_message.Message):
    __slots__ = ("scale",)
    SCALE_FIELD_NUMBER: _ClassVar[int]
    scale: ScaleStatus
    def __init__(self, scale: _Optional[_Union[ScaleStatus, _Mapping]] = ...) -> None: ...

class WatchScaleRequest(_message.Message):
    __slots__ = ("service",)
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    service: str
    def __init__(self, service: _Optional[str] = ...) -> None: ...

class WatchScaleResponse(_message.Message):
    __slots__ = ("scale",)
    SCALE_FIELD_NUMBER: _ClassVar[int]
    scale: ScaleStatus
    def __init__(self, scale: _Optional[_Union[ScaleStatus, _Mapping]] = ...) -> None: ...

class ListScaleDecisionsRequest(_message.Message):
    __slots__ = ("service", "until_time", "since_time", "limit", "changes_only")
    SERVICE_FIELD_NUMBER: _ClassVar[int]
    UNTIL_TIME_FIELD_NUMBER: _ClassVar[int]
    SINCE_TIME_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    CHANGES_ONLY_FIELD_NUMBER: _ClassVar[int]
    service: str
    until_time: _timestamp_pb2.Timestamp
    since_time: _timestamp_pb2.Timestamp
    limit: int
    changes_only: bool
    def __init__(self, service: _Optional[str] = ..., until_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., since_time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., limit: _Optional[int] = ..., changes_only: bool = ...) -> None: ...

class ListScaleDecisionsResponse(_message.Message):
    __slots__ = ("decisions",)
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    decisions: _containers.RepeatedCompositeFieldContainer[ScaleDecision]
    def __init__(self, decisions: _Optional[_Iterable[_Union[ScaleDecision, _Mapping]]] = ...) -> None: ...

class PreviewScalePolicyRequest(_message.Message):
    __slots__ = ("policy", "since")
    POLICY_FIELD_NUMBER: _ClassVar[int]
    SINCE_FIELD_NUMBER: _ClassVar[int]
    policy: ScalePolicy
    since: _duration_pb2.Duration
    def __init__(self, policy: _Optional[_Union[ScalePolicy, _Mapping]] = ..., since: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...

class ScalePreviewPoint(_message.Message):
    __slots__ = ("time", "recorded_count", "preview_count", "reason")
    TIME_FIELD_NUMBER: _ClassVar[int]
    RECORDED_COUNT_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_COUNT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    time: _timestamp_pb2.Timestamp
    recorded_count: int
    preview_count: int
    reason: str
    def __init__(self, time: _Optional[_Union[datetime.datetime, _timestamp_pb2.Timestamp, _Mapping]] = ..., recorded_count: _Optional[int] = ..., preview_count: _Optional[int] = ..., reason: _Optional[str] = ...) -> None: ...

class PreviewScalePolicyResponse(_message.Message):
    __slots__ = ("points", "recorded_node_seconds", "preview_node_seconds", "covered")
    POINTS_FIELD_NUMBER: _ClassVar[int]
    RECORDED_NODE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_NODE_SECONDS_FIELD_NUMBER: _ClassVar[int]
    COVERED_FIELD_NUMBER: _ClassVar[int]
    points: _containers.RepeatedCompositeFieldContainer[ScalePreviewPoint]
    recorded_node_seconds: float
    preview_node_seconds: float
    covered: _duration_pb2.Duration
    def __init__(self, points: _Optional[_Iterable[_Union[ScalePreviewPoint, _Mapping]]] = ..., recorded_node_seconds: _Optional[float] = ..., preview_node_seconds: _Optional[float] = ..., covered: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ...) -> None: ...
