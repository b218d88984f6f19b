"""The shard server with stamps around its part of a request; see `benchmarks.breakdown`."""

import json
import os
import sys
from pathlib import Path
from time import monotonic_ns
from typing import Any

from benchmarks.breakdown import STAMPS
from mtdd_router.server.__main__ import main
from mtdd_router.server.postgres.connection import PostgresConnection
from mtdd_router.server.session import Session

_stamps: dict[int, list[int]] = {}
_current: list[int] = []


def _leave() -> None:
    Path(os.environ[STAMPS]).write_text(json.dumps(_stamps))
    _stamps.clear()


def _install() -> None:
    start, handle, send = Session.start, Session.handle, PostgresConnection.send
    data_received = PostgresConnection.data_received

    def stamped_start(self: Session, request: Any, done: Any) -> bool:
        global _current
        if b"leave the stamps" in request.statement:
            return False
        _current = _stamps[request.serial] = [monotonic_ns()]

        def stamped_done(response: Any) -> None:
            _current.append(monotonic_ns())
            done(response)

        return start(self, request, stamped_done)

    async def stamped_handle(self: Session, request: Any, write: Any) -> None:
        global _current
        _current = _stamps[request.serial] = [monotonic_ns()]
        if b"leave the stamps" in request.statement:
            # The write is part of this request, so the client finds the file whole.
            _leave()

        async def stamped_write(response: Any) -> None:
            _current.append(monotonic_ns())
            await write(response)

        await handle(self, request, stamped_write)

    def stamped_send(self: PostgresConnection, *arguments: Any, **named: Any) -> None:
        _current.append(monotonic_ns())
        send(self, *arguments, **named)

    def stamped_data_received(self: PostgresConnection, data: bytes) -> None:
        _current.append(monotonic_ns())
        data_received(self, data)

    Session.start = stamped_start  # type: ignore[method-assign]
    Session.handle = stamped_handle  # type: ignore[method-assign]
    PostgresConnection.send = stamped_send  # type: ignore[method-assign]
    PostgresConnection.data_received = stamped_data_received  # type: ignore[method-assign]


if __name__ == "__main__":
    _install()
    sys.exit(main())
