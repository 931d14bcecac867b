from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class SetSlotsRequest(_message.Message):
    __slots__ = ("slot_count",)
    SLOT_COUNT_FIELD_NUMBER: _ClassVar[int]
    slot_count: int
    def __init__(self, slot_count: _Optional[int] = ...) -> None: ...

class SetSlotsResponse(_message.Message):
    __slots__ = ("previous_slot_count",)
    PREVIOUS_SLOT_COUNT_FIELD_NUMBER: _ClassVar[int]
    previous_slot_count: int
    def __init__(self, previous_slot_count: _Optional[int] = ...) -> None: ...
