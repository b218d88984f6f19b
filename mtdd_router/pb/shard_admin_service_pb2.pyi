from mtdd_router.pb import messages_pb2 as _messages_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class SchemaDetail(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SCHEMA_DETAIL_UNSPECIFIED: _ClassVar[SchemaDetail]
    SCHEMA_DETAIL_APPLIED: _ClassVar[SchemaDetail]
    SCHEMA_DETAIL_FINGERPRINT: _ClassVar[SchemaDetail]
    SCHEMA_DETAIL_FACTS: _ClassVar[SchemaDetail]
SCHEMA_DETAIL_UNSPECIFIED: SchemaDetail
SCHEMA_DETAIL_APPLIED: SchemaDetail
SCHEMA_DETAIL_FINGERPRINT: SchemaDetail
SCHEMA_DETAIL_FACTS: SchemaDetail

class GetIdentityRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetIdentityResponse(_message.Message):
    __slots__ = ("shard_id",)
    SHARD_ID_FIELD_NUMBER: _ClassVar[int]
    shard_id: str
    def __init__(self, shard_id: _Optional[str] = ...) -> None: ...

class GetInfoRequest(_message.Message):
    __slots__ = ("size",)
    SIZE_FIELD_NUMBER: _ClassVar[int]
    size: bool
    def __init__(self, size: _Optional[bool] = ...) -> None: ...

class GetInfoResponse(_message.Message):
    __slots__ = ("shard_id", "server_version", "postgres_version", "database_name", "database_bytes", "tenants", "pool_size", "pool_open", "pool_busy", "sessions")
    SHARD_ID_FIELD_NUMBER: _ClassVar[int]
    SERVER_VERSION_FIELD_NUMBER: _ClassVar[int]
    POSTGRES_VERSION_FIELD_NUMBER: _ClassVar[int]
    DATABASE_NAME_FIELD_NUMBER: _ClassVar[int]
    DATABASE_BYTES_FIELD_NUMBER: _ClassVar[int]
    TENANTS_FIELD_NUMBER: _ClassVar[int]
    POOL_SIZE_FIELD_NUMBER: _ClassVar[int]
    POOL_OPEN_FIELD_NUMBER: _ClassVar[int]
    POOL_BUSY_FIELD_NUMBER: _ClassVar[int]
    SESSIONS_FIELD_NUMBER: _ClassVar[int]
    shard_id: str
    server_version: str
    postgres_version: str
    database_name: str
    database_bytes: int
    tenants: int
    pool_size: int
    pool_open: int
    pool_busy: int
    sessions: int
    def __init__(self, shard_id: _Optional[str] = ..., server_version: _Optional[str] = ..., postgres_version: _Optional[str] = ..., database_name: _Optional[str] = ..., database_bytes: _Optional[int] = ..., tenants: _Optional[int] = ..., pool_size: _Optional[int] = ..., pool_open: _Optional[int] = ..., pool_busy: _Optional[int] = ..., sessions: _Optional[int] = ...) -> None: ...

class CreateNamespaceRequest(_message.Message):
    __slots__ = ("placement", "part", "shard_id", "compared")
    PLACEMENT_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    SHARD_ID_FIELD_NUMBER: _ClassVar[int]
    COMPARED_FIELD_NUMBER: _ClassVar[int]
    placement: _messages_pb2.Placement
    part: ScriptPart
    shard_id: str
    compared: bool
    def __init__(self, placement: _Optional[_Union[_messages_pb2.Placement, _Mapping]] = ..., part: _Optional[_Union[ScriptPart, _Mapping]] = ..., shard_id: _Optional[str] = ..., compared: _Optional[bool] = ...) -> None: ...

class CreateNamespaceResponse(_message.Message):
    __slots__ = ("placement", "differs", "ran")
    PLACEMENT_FIELD_NUMBER: _ClassVar[int]
    DIFFERS_FIELD_NUMBER: _ClassVar[int]
    RAN_FIELD_NUMBER: _ClassVar[int]
    placement: _messages_pb2.Placement
    differs: bool
    ran: bool
    def __init__(self, placement: _Optional[_Union[_messages_pb2.Placement, _Mapping]] = ..., differs: _Optional[bool] = ..., ran: _Optional[bool] = ...) -> None: ...

class DropNamespaceRequest(_message.Message):
    __slots__ = ("tenant", "orphan")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    ORPHAN_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    orphan: str
    def __init__(self, tenant: _Optional[str] = ..., orphan: _Optional[str] = ...) -> None: ...

class DropNamespaceResponse(_message.Message):
    __slots__ = ("dropped",)
    DROPPED_FIELD_NUMBER: _ClassVar[int]
    dropped: bool
    def __init__(self, dropped: _Optional[bool] = ...) -> None: ...

class UpdatePlacementRequest(_message.Message):
    __slots__ = ("tenant", "expected_epoch", "name", "state", "epoch")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_EPOCH_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    EPOCH_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    expected_epoch: int
    name: str
    state: _messages_pb2.PlacementState
    epoch: int
    def __init__(self, tenant: _Optional[str] = ..., expected_epoch: _Optional[int] = ..., name: _Optional[str] = ..., state: _Optional[_Union[_messages_pb2.PlacementState, str]] = ..., epoch: _Optional[int] = ...) -> None: ...

class UpdatePlacementResponse(_message.Message):
    __slots__ = ("placement",)
    PLACEMENT_FIELD_NUMBER: _ClassVar[int]
    placement: _messages_pb2.Placement
    def __init__(self, placement: _Optional[_Union[_messages_pb2.Placement, _Mapping]] = ...) -> None: ...

class ListPlacementsRequest(_message.Message):
    __slots__ = ("tenants", "after", "limit", "orphans")
    TENANTS_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    ORPHANS_FIELD_NUMBER: _ClassVar[int]
    tenants: _containers.RepeatedScalarFieldContainer[str]
    after: str
    limit: int
    orphans: bool
    def __init__(self, tenants: _Optional[_Iterable[str]] = ..., after: _Optional[str] = ..., limit: _Optional[int] = ..., orphans: _Optional[bool] = ...) -> None: ...

class ListPlacementsResponse(_message.Message):
    __slots__ = ("placements", "orphans", "missing")
    PLACEMENTS_FIELD_NUMBER: _ClassVar[int]
    ORPHANS_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    placements: _containers.RepeatedCompositeFieldContainer[_messages_pb2.Placement]
    orphans: _containers.RepeatedScalarFieldContainer[str]
    missing: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, placements: _Optional[_Iterable[_Union[_messages_pb2.Placement, _Mapping]]] = ..., orphans: _Optional[_Iterable[str]] = ..., missing: _Optional[_Iterable[str]] = ...) -> None: ...

class GetSizesRequest(_message.Message):
    __slots__ = ("tenants",)
    TENANTS_FIELD_NUMBER: _ClassVar[int]
    tenants: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, tenants: _Optional[_Iterable[str]] = ...) -> None: ...

class GetSizesResponse(_message.Message):
    __slots__ = ("bytes_by_tenant",)
    class BytesByTenantEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: int
        def __init__(self, key: _Optional[str] = ..., value: _Optional[int] = ...) -> None: ...
    BYTES_BY_TENANT_FIELD_NUMBER: _ClassVar[int]
    bytes_by_tenant: _containers.ScalarMap[str, int]
    def __init__(self, bytes_by_tenant: _Optional[_Mapping[str, int]] = ...) -> None: ...

class InspectSchemasRequest(_message.Message):
    __slots__ = ("tenants", "detail")
    TENANTS_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    tenants: _containers.RepeatedScalarFieldContainer[str]
    detail: SchemaDetail
    def __init__(self, tenants: _Optional[_Iterable[str]] = ..., detail: _Optional[_Union[SchemaDetail, str]] = ...) -> None: ...

class SchemaFact(_message.Message):
    __slots__ = ("kind", "object", "definition")
    KIND_FIELD_NUMBER: _ClassVar[int]
    OBJECT_FIELD_NUMBER: _ClassVar[int]
    DEFINITION_FIELD_NUMBER: _ClassVar[int]
    kind: str
    object: str
    definition: str
    def __init__(self, kind: _Optional[str] = ..., object: _Optional[str] = ..., definition: _Optional[str] = ...) -> None: ...

class SchemaState(_message.Message):
    __slots__ = ("tenant", "applied", "fingerprint", "facts")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    FACTS_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    applied: str
    fingerprint: str
    facts: _containers.RepeatedCompositeFieldContainer[SchemaFact]
    def __init__(self, tenant: _Optional[str] = ..., applied: _Optional[str] = ..., fingerprint: _Optional[str] = ..., facts: _Optional[_Iterable[_Union[SchemaFact, _Mapping]]] = ...) -> None: ...

class AppliedMigrations(_message.Message):
    __slots__ = ("digest", "names")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    NAMES_FIELD_NUMBER: _ClassVar[int]
    digest: str
    names: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, digest: _Optional[str] = ..., names: _Optional[_Iterable[str]] = ...) -> None: ...

class InspectSchemasResponse(_message.Message):
    __slots__ = ("states", "applied", "postgres_major")
    STATES_FIELD_NUMBER: _ClassVar[int]
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    POSTGRES_MAJOR_FIELD_NUMBER: _ClassVar[int]
    states: _containers.RepeatedCompositeFieldContainer[SchemaState]
    applied: _containers.RepeatedCompositeFieldContainer[AppliedMigrations]
    postgres_major: int
    def __init__(self, states: _Optional[_Iterable[_Union[SchemaState, _Mapping]]] = ..., applied: _Optional[_Iterable[_Union[AppliedMigrations, _Mapping]]] = ..., postgres_major: _Optional[int] = ...) -> None: ...

class ScriptPart(_message.Message):
    __slots__ = ("expected", "statements", "atomic", "fingerprint", "settled")
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    STATEMENTS_FIELD_NUMBER: _ClassVar[int]
    ATOMIC_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    SETTLED_FIELD_NUMBER: _ClassVar[int]
    expected: str
    statements: _containers.RepeatedScalarFieldContainer[str]
    atomic: bool
    fingerprint: str
    settled: Settled
    def __init__(self, expected: _Optional[str] = ..., statements: _Optional[_Iterable[str]] = ..., atomic: _Optional[bool] = ..., fingerprint: _Optional[str] = ..., settled: _Optional[_Union[Settled, _Mapping]] = ...) -> None: ...

class Settled(_message.Message):
    __slots__ = ("statements", "query", "answer")
    STATEMENTS_FIELD_NUMBER: _ClassVar[int]
    QUERY_FIELD_NUMBER: _ClassVar[int]
    ANSWER_FIELD_NUMBER: _ClassVar[int]
    statements: int
    query: str
    answer: str
    def __init__(self, statements: _Optional[int] = ..., query: _Optional[str] = ..., answer: _Optional[str] = ...) -> None: ...

class RunScriptRequest(_message.Message):
    __slots__ = ("tenants", "parts", "lock_timeout_ms", "fail_fast")
    TENANTS_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    LOCK_TIMEOUT_MS_FIELD_NUMBER: _ClassVar[int]
    FAIL_FAST_FIELD_NUMBER: _ClassVar[int]
    tenants: _containers.RepeatedScalarFieldContainer[str]
    parts: _containers.RepeatedCompositeFieldContainer[ScriptPart]
    lock_timeout_ms: int
    fail_fast: bool
    def __init__(self, tenants: _Optional[_Iterable[str]] = ..., parts: _Optional[_Iterable[_Union[ScriptPart, _Mapping]]] = ..., lock_timeout_ms: _Optional[int] = ..., fail_fast: _Optional[bool] = ...) -> None: ...

class ScriptOutcome(_message.Message):
    __slots__ = ("tenant", "parts_done", "seconds", "failure", "sqlstate", "differs")
    TENANT_FIELD_NUMBER: _ClassVar[int]
    PARTS_DONE_FIELD_NUMBER: _ClassVar[int]
    SECONDS_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    SQLSTATE_FIELD_NUMBER: _ClassVar[int]
    DIFFERS_FIELD_NUMBER: _ClassVar[int]
    tenant: str
    parts_done: int
    seconds: float
    failure: str
    sqlstate: str
    differs: bool
    def __init__(self, tenant: _Optional[str] = ..., parts_done: _Optional[int] = ..., seconds: _Optional[float] = ..., failure: _Optional[str] = ..., sqlstate: _Optional[str] = ..., differs: _Optional[bool] = ...) -> None: ...

class RunScriptResponse(_message.Message):
    __slots__ = ("outcomes",)
    OUTCOMES_FIELD_NUMBER: _ClassVar[int]
    outcomes: _containers.RepeatedCompositeFieldContainer[ScriptOutcome]
    def __init__(self, outcomes: _Optional[_Iterable[_Union[ScriptOutcome, _Mapping]]] = ...) -> None: ...
