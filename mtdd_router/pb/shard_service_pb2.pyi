from mtdd_router.pb import messages_pb2 as _messages_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Outcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    OUTCOME_UNSPECIFIED: _ClassVar[Outcome]
    OUTCOME_NOT_RECEIVED: _ClassVar[Outcome]
    OUTCOME_RUNNING: _ClassVar[Outcome]
    OUTCOME_SUCCEEDED: _ClassVar[Outcome]
    OUTCOME_FAILED: _ClassVar[Outcome]
OUTCOME_UNSPECIFIED: Outcome
OUTCOME_NOT_RECEIVED: Outcome
OUTCOME_RUNNING: Outcome
OUTCOME_SUCCEEDED: Outcome
OUTCOME_FAILED: Outcome

class ExecuteRequest(_message.Message):
    __slots__ = ("context", "statement", "parameters", "timeout_ms")
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    STATEMENT_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    context: _messages_pb2.Context
    statement: bytes
    parameters: _containers.RepeatedCompositeFieldContainer[_messages_pb2.Parameter]
    timeout_ms: int
    def __init__(self, context: _Optional[_Union[_messages_pb2.Context, _Mapping]] = ..., statement: _Optional[bytes] = ..., parameters: _Optional[_Iterable[_Union[_messages_pb2.Parameter, _Mapping]]] = ..., timeout_ms: _Optional[int] = ...) -> None: ...

class ExecuteResponse(_message.Message):
    __slots__ = ("columns", "rows", "command_tag", "database_error", "error")
    COLUMNS_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    COMMAND_TAG_FIELD_NUMBER: _ClassVar[int]
    DATABASE_ERROR_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    columns: _containers.RepeatedCompositeFieldContainer[_messages_pb2.Column]
    rows: _containers.RepeatedCompositeFieldContainer[_messages_pb2.Row]
    command_tag: str
    database_error: _messages_pb2.DatabaseError
    error: _messages_pb2.Error
    def __init__(self, columns: _Optional[_Iterable[_Union[_messages_pb2.Column, _Mapping]]] = ..., rows: _Optional[_Iterable[_Union[_messages_pb2.Row, _Mapping]]] = ..., command_tag: _Optional[str] = ..., database_error: _Optional[_Union[_messages_pb2.DatabaseError, _Mapping]] = ..., error: _Optional[_Union[_messages_pb2.Error, _Mapping]] = ...) -> None: ...

class ListenRequest(_message.Message):
    __slots__ = ("context", "channel")
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    context: _messages_pb2.Context
    channel: str
    def __init__(self, context: _Optional[_Union[_messages_pb2.Context, _Mapping]] = ..., channel: _Optional[str] = ...) -> None: ...

class ListenResponse(_message.Message):
    __slots__ = ("channel", "payload", "backend_pid")
    CHANNEL_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    BACKEND_PID_FIELD_NUMBER: _ClassVar[int]
    channel: str
    payload: str
    backend_pid: int
    def __init__(self, channel: _Optional[str] = ..., payload: _Optional[str] = ..., backend_pid: _Optional[int] = ...) -> None: ...

class CancelRequest(_message.Message):
    __slots__ = ("session_id", "serial")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    SERIAL_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    serial: int
    def __init__(self, session_id: _Optional[str] = ..., serial: _Optional[int] = ...) -> None: ...

class CancelResponse(_message.Message):
    __slots__ = ("found",)
    FOUND_FIELD_NUMBER: _ClassVar[int]
    found: bool
    def __init__(self, found: _Optional[bool] = ...) -> None: ...

class OutcomeRequest(_message.Message):
    __slots__ = ("session_id", "serial")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    SERIAL_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    serial: int
    def __init__(self, session_id: _Optional[str] = ..., serial: _Optional[int] = ...) -> None: ...

class OutcomeResponse(_message.Message):
    __slots__ = ("outcome",)
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    outcome: Outcome
    def __init__(self, outcome: _Optional[_Union[Outcome, str]] = ...) -> None: ...
