from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REASON_UNSPECIFIED: _ClassVar[Reason]
    REASON_INVALID_REQUEST: _ClassVar[Reason]
    REASON_PERMISSION_DENIED: _ClassVar[Reason]
    REASON_TENANT_NOT_HERE: _ClassVar[Reason]
    REASON_STALE_EPOCH: _ClassVar[Reason]
    REASON_TENANT_UNAVAILABLE: _ClassVar[Reason]
    REASON_OVERLOADED: _ClassVar[Reason]
    REASON_DATABASE_UNAVAILABLE: _ClassVar[Reason]
    REASON_CONNECTION_LOST: _ClassVar[Reason]
    REASON_DRAINING: _ClassVar[Reason]
    REASON_STATEMENT_REFUSED: _ClassVar[Reason]
    REASON_ALREADY_EXISTS: _ClassVar[Reason]
    REASON_INTERNAL: _ClassVar[Reason]

class Isolation(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ISOLATION_UNSPECIFIED: _ClassVar[Isolation]
    ISOLATION_SCHEMA: _ClassVar[Isolation]
    ISOLATION_DATABASE: _ClassVar[Isolation]
    ISOLATION_STRICT: _ClassVar[Isolation]

class PlacementState(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PLACEMENT_STATE_UNSPECIFIED: _ClassVar[PlacementState]
    PLACEMENT_STATE_CREATING: _ClassVar[PlacementState]
    PLACEMENT_STATE_ACTIVE: _ClassVar[PlacementState]
    PLACEMENT_STATE_FROZEN: _ClassVar[PlacementState]
    PLACEMENT_STATE_DELETING: _ClassVar[PlacementState]
    PLACEMENT_STATE_DELETED: _ClassVar[PlacementState]
REASON_UNSPECIFIED: Reason
REASON_INVALID_REQUEST: Reason
REASON_PERMISSION_DENIED: Reason
REASON_TENANT_NOT_HERE: Reason
REASON_STALE_EPOCH: Reason
REASON_TENANT_UNAVAILABLE: Reason
REASON_OVERLOADED: Reason
REASON_DATABASE_UNAVAILABLE: Reason
REASON_CONNECTION_LOST: Reason
REASON_DRAINING: Reason
REASON_STATEMENT_REFUSED: Reason
REASON_ALREADY_EXISTS: Reason
REASON_INTERNAL: Reason
ISOLATION_UNSPECIFIED: Isolation
ISOLATION_SCHEMA: Isolation
ISOLATION_DATABASE: Isolation
ISOLATION_STRICT: Isolation
PLACEMENT_STATE_UNSPECIFIED: PlacementState
PLACEMENT_STATE_CREATING: PlacementState
PLACEMENT_STATE_ACTIVE: PlacementState
PLACEMENT_STATE_FROZEN: PlacementState
PLACEMENT_STATE_DELETING: PlacementState
PLACEMENT_STATE_DELETED: PlacementState

class Target(_message.Message):
    __slots__ = ("tenant", "database")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    DATABASE_FIELD_NUMBER: _ClassVar[int]
    tenant: TenantTarget
    database: str
    def __init__(self, tenant: _Optional[_Union[TenantTarget, _Mapping]] = ..., database: _Optional[str] = ...) -> None: ...

class TenantTarget(_message.Message):
    __slots__ = ("name", "epoch", "maintenance")
    NAME_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    MAINTENANCE_FIELD_NUMBER: _ClassVar[int]
    name: str
    epoch: int
    maintenance: bool
    def __init__(self, name: _Optional[str] = ..., epoch: _Optional[int] = ..., maintenance: _Optional[bool] = ...) -> None: ...

class Setting(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: str
    def __init__(self, name: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...

class Context(_message.Message):
    __slots__ = ("target", "settings")
    TARGET_FIELD_NUMBER: _ClassVar[int]
    SETTINGS_FIELD_NUMBER: _ClassVar[int]
    target: Target
    settings: _containers.RepeatedCompositeFieldContainer[Setting]
    def __init__(self, target: _Optional[_Union[Target, _Mapping]] = ..., settings: _Optional[_Iterable[_Union[Setting, _Mapping]]] = ...) -> None: ...

class SessionRequest(_message.Message):
    __slots__ = ("context", "serial", "begin", "timeout_ms", "statement", "batch", "copy", "poll", "commit")
    CONTEXT_FIELD_NUMBER: _ClassVar[int]
    SERIAL_FIELD_NUMBER: _ClassVar[int]
    BEGIN_FIELD_NUMBER: _ClassVar[int]
    TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    STATEMENT_FIELD_NUMBER: _ClassVar[int]
    BATCH_FIELD_NUMBER: _ClassVar[int]
    COPY_FIELD_NUMBER: _ClassVar[int]
    POLL_FIELD_NUMBER: _ClassVar[int]
    COMMIT_FIELD_NUMBER: _ClassVar[int]
    context: Context
    serial: int
    begin: str
    timeout_ms: int
    statement: bytes
    batch: Batch
    copy: CopyIn
    poll: Poll
    commit: bool
    def __init__(self, context: _Optional[_Union[Context, _Mapping]] = ..., serial: _Optional[int] = ..., begin: _Optional[str] = ..., timeout_ms: _Optional[int] = ..., statement: _Optional[bytes] = ..., batch: _Optional[_Union[Batch, _Mapping]] = ..., copy: _Optional[_Union[CopyIn, _Mapping]] = ..., poll: _Optional[_Union[Poll, _Mapping]] = ..., commit: _Optional[bool] = ...) -> None: ...

class Batch(_message.Message):
    __slots__ = ("messages",)
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    messages: _containers.RepeatedCompositeFieldContainer[BatchMessage]
    def __init__(self, messages: _Optional[_Iterable[_Union[BatchMessage, _Mapping]]] = ...) -> None: ...

class BatchMessage(_message.Message):
    __slots__ = ("parse", "bind", "describe", "execute", "close", "sync", "flush")
    PARSE_FIELD_NUMBER: _ClassVar[int]
    BIND_FIELD_NUMBER: _ClassVar[int]
    DESCRIBE_FIELD_NUMBER: _ClassVar[int]
    EXECUTE_FIELD_NUMBER: _ClassVar[int]
    CLOSE_FIELD_NUMBER: _ClassVar[int]
    SYNC_FIELD_NUMBER: _ClassVar[int]
    FLUSH_FIELD_NUMBER: _ClassVar[int]
    parse: Parse
    bind: Bind
    describe: Describe
    execute: Execution
    close: Close
    sync: Sync
    flush: Flush
    def __init__(self, parse: _Optional[_Union[Parse, _Mapping]] = ..., bind: _Optional[_Union[Bind, _Mapping]] = ..., describe: _Optional[_Union[Describe, _Mapping]] = ..., execute: _Optional[_Union[Execution, _Mapping]] = ..., close: _Optional[_Union[Close, _Mapping]] = ..., sync: _Optional[_Union[Sync, _Mapping]] = ..., flush: _Optional[_Union[Flush, _Mapping]] = ...) -> None: ...

class Parse(_message.Message):
    __slots__ = ("name", "statement", "parameter_types")
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATEMENT_FIELD_NUMBER: _ClassVar[int]
    PARAMETER_TYPES_FIELD_NUMBER: _ClassVar[int]
    name: bytes
    statement: bytes
    parameter_types: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, name: _Optional[bytes] = ..., statement: _Optional[bytes] = ..., parameter_types: _Optional[_Iterable[int]] = ...) -> None: ...

class Bind(_message.Message):
    __slots__ = ("portal", "name", "parameter_formats", "parameters", "result_formats")
    PORTAL_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PARAMETER_FORMATS_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    RESULT_FORMATS_FIELD_NUMBER: _ClassVar[int]
    portal: bytes
    name: bytes
    parameter_formats: _containers.RepeatedScalarFieldContainer[int]
    parameters: _containers.RepeatedCompositeFieldContainer[Parameter]
    result_formats: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, portal: _Optional[bytes] = ..., name: _Optional[bytes] = ..., parameter_formats: _Optional[_Iterable[int]] = ..., parameters: _Optional[_Iterable[_Union[Parameter, _Mapping]]] = ..., result_formats: _Optional[_Iterable[int]] = ...) -> None: ...

class Parameter(_message.Message):
    __slots__ = ("value",)
    VALUE_FIELD_NUMBER: _ClassVar[int]
    value: bytes
    def __init__(self, value: _Optional[bytes] = ...) -> None: ...

class Describe(_message.Message):
    __slots__ = ("portal", "name")
    PORTAL_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    portal: bool
    name: bytes
    def __init__(self, portal: _Optional[bool] = ..., name: _Optional[bytes] = ...) -> None: ...

class Execution(_message.Message):
    __slots__ = ("portal", "max_rows")
    PORTAL_FIELD_NUMBER: _ClassVar[int]
    MAX_ROWS_FIELD_NUMBER: _ClassVar[int]
    portal: bytes
    max_rows: int
    def __init__(self, portal: _Optional[bytes] = ..., max_rows: _Optional[int] = ...) -> None: ...

class Close(_message.Message):
    __slots__ = ("portal", "name")
    PORTAL_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    portal: bool
    name: bytes
    def __init__(self, portal: _Optional[bool] = ..., name: _Optional[bytes] = ...) -> None: ...

class Sync(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Flush(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class CopyIn(_message.Message):
    __slots__ = ("data", "done", "failure")
    DATA_FIELD_NUMBER: _ClassVar[int]
    DONE_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    done: bool
    failure: str
    def __init__(self, data: _Optional[bytes] = ..., done: _Optional[bool] = ..., failure: _Optional[str] = ...) -> None: ...

class Poll(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class SessionResponse(_message.Message):
    __slots__ = ("messages", "complete", "pinned", "error", "hello")
    MESSAGES_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    PINNED_FIELD_NUMBER: _ClassVar[int]
    ERROR_FIELD_NUMBER: _ClassVar[int]
    HELLO_FIELD_NUMBER: _ClassVar[int]
    messages: bytes
    complete: bool
    pinned: bool
    error: Error
    hello: Hello
    def __init__(self, messages: _Optional[bytes] = ..., complete: _Optional[bool] = ..., pinned: _Optional[bool] = ..., error: _Optional[_Union[Error, _Mapping]] = ..., hello: _Optional[_Union[Hello, _Mapping]] = ...) -> None: ...

class Hello(_message.Message):
    __slots__ = ("session_id", "parameters", "server_version")
    SESSION_ID_FIELD_NUMBER: _ClassVar[int]
    PARAMETERS_FIELD_NUMBER: _ClassVar[int]
    SERVER_VERSION_FIELD_NUMBER: _ClassVar[int]
    session_id: str
    parameters: _containers.RepeatedCompositeFieldContainer[Setting]
    server_version: str
    def __init__(self, session_id: _Optional[str] = ..., parameters: _Optional[_Iterable[_Union[Setting, _Mapping]]] = ..., server_version: _Optional[str] = ...) -> None: ...

class Error(_message.Message):
    __slots__ = ("reason", "message", "epoch", "state", "executed")
    REASON_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    EXECUTED_FIELD_NUMBER: _ClassVar[int]
    reason: Reason
    message: str
    epoch: int
    state: PlacementState
    executed: bool
    def __init__(self, reason: _Optional[_Union[Reason, str]] = ..., message: _Optional[str] = ..., epoch: _Optional[int] = ..., state: _Optional[_Union[PlacementState, str]] = ..., executed: _Optional[bool] = ...) -> None: ...

class Placement(_message.Message):
    __slots__ = ("tenant", "isolation", "namespace", "role", "epoch", "state")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    ISOLATION_FIELD_NUMBER: _ClassVar[int]
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    isolation: Isolation
    namespace: str
    role: str
    epoch: int
    state: PlacementState
    def __init__(self, tenant: _Optional[str] = ..., isolation: _Optional[_Union[Isolation, str]] = ..., namespace: _Optional[str] = ..., role: _Optional[str] = ..., epoch: _Optional[int] = ..., state: _Optional[_Union[PlacementState, str]] = ...) -> None: ...

class Column(_message.Message):
    __slots__ = ("name", "type_oid", "type_modifier", "type_size", "table_oid", "table_column")
    NAME_FIELD_NUMBER: _ClassVar[int]
    TYPE_OID_FIELD_NUMBER: _ClassVar[int]
    TYPE_MODIFIER_FIELD_NUMBER: _ClassVar[int]
    TYPE_SIZE_FIELD_NUMBER: _ClassVar[int]
    TABLE_OID_FIELD_NUMBER: _ClassVar[int]
    TABLE_COLUMN_FIELD_NUMBER: _ClassVar[int]
    name: str
    type_oid: int
    type_modifier: int
    type_size: int
    table_oid: int
    table_column: int
    def __init__(self, name: _Optional[str] = ..., type_oid: _Optional[int] = ..., type_modifier: _Optional[int] = ..., type_size: _Optional[int] = ..., table_oid: _Optional[int] = ..., table_column: _Optional[int] = ...) -> None: ...

class Row(_message.Message):
    __slots__ = ("values",)
    VALUES_FIELD_NUMBER: _ClassVar[int]
    values: _containers.RepeatedCompositeFieldContainer[Parameter]
    def __init__(self, values: _Optional[_Iterable[_Union[Parameter, _Mapping]]] = ...) -> None: ...

class DatabaseError(_message.Message):
    __slots__ = ("sqlstate", "message", "fields")
    class FieldsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    SQLSTATE_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    sqlstate: str
    message: str
    fields: _containers.ScalarMap[str, str]
    def __init__(self, sqlstate: _Optional[str] = ..., message: _Optional[str] = ..., fields: _Optional[_Mapping[str, str]] = ...) -> None: ...
