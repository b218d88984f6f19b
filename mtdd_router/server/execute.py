"""Execute: one statement in, typed rows out."""

from struct import Struct
from typing import Final

from mtdd_router.pb import messages_pb2 as pb
from mtdd_router.pb import shard_service_pb2 as service_pb
from mtdd_router.server.session import Session
from mtdd_router.wire.backend import error_fields
from mtdd_router.wire.framing import messages

__all__ = ["execute"]

_INT16: Final = Struct("!H")
_INT32: Final = Struct("!i")
_FIELD: Final = Struct("!IHIhiH")


async def execute(
    session: Session, request: service_pb.ExecuteRequest
) -> service_pb.ExecuteResponse:
    """Run the request on *session*, and return its rows or its error."""
    batch = pb.Batch()
    batch.messages.add(parse=pb.Parse(statement=request.statement))
    batch.messages.add(bind=pb.Bind(parameters=request.parameters))
    batch.messages.add(describe=pb.Describe(portal=True))
    batch.messages.add(execute=pb.Execution())
    batch.messages.add(sync=pb.Sync())
    parts: list[bytes] = []
    response = service_pb.ExecuteResponse()

    async def collect(part: pb.SessionResponse) -> None:
        parts.append(part.messages)
        if part.HasField("error"):
            response.error.CopyFrom(part.error)

    await session.handle(
        pb.SessionRequest(
            context=request.context, serial=1, timeout_ms=request.timeout_ms, batch=batch
        ),
        collect,
    )
    for kind, body in messages(b"".join(parts)):
        match kind:
            case b"T":
                _columns(body, response)
            case b"D":
                _row(body, response.rows.add())
            case b"C":
                response.command_tag = body[:-1].decode()
            case b"E":
                fields = error_fields(body)
                response.database_error.sqlstate = fields.get("C", "")
                response.database_error.message = fields.get("M", "")
                response.database_error.fields.update(fields)
    return response


def _columns(body: bytes, response: service_pb.ExecuteResponse) -> None:
    (count,) = _INT16.unpack_from(body)
    position = 2
    for _ in range(count):
        end = body.index(b"\0", position)
        table, column, oid, size, modifier, _ = _FIELD.unpack_from(body, end + 1)
        response.columns.add(
            name=body[position:end].decode(),
            type_oid=oid,
            type_modifier=modifier,
            type_size=size,
            table_oid=table,
            table_column=column,
        )
        position = end + 1 + _FIELD.size


def _row(body: bytes, row: pb.Row) -> None:
    (count,) = _INT16.unpack_from(body)
    position = 2
    for _ in range(count):
        (length,) = _INT32.unpack_from(body, position)
        position += 4
        if length < 0:
            row.values.add()
        else:
            row.values.add(value=body[position : position + length])
            position += length
