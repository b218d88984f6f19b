"""Examining the statements of requests, without holding up other sessions.

Parsing takes more than a second for each megabyte. PostgreSQL's parser works on trees of
Python, so that a thread lets others go on every few milliseconds, which is what matters:
they wait for their turn and not for its end.

Invariant: long statements are parsed one at a time, so that they cannot use up more.
"""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Final

from mtdd_router.pb import messages_pb2 as pb
from mtdd_router.server.requests import batch_statement
from mtdd_router.server.statements import ORDINARY, Statement, classify, look

__all__ = ["LONG_BYTES", "examine", "examined", "is_long"]

LONG_BYTES: Final = 16_384
"""More may take long to examine."""
# Enough for what is nested as deeply as is let through, also where threads have less.
_STACK_BYTES: Final = 16 << 20


def is_long(request: pb.SessionRequest) -> bool:
    """Whether examining the request may take long."""
    if len(request.statement) > LONG_BYTES:
        return True
    # A batch's parameters are not examined, but nor are they parsed in vain.
    return request.HasField("batch") and request.batch.ByteSize() > LONG_BYTES


def examine(request: pb.SessionRequest) -> Statement:
    """Return what is known of the request's statements; of none, that it is harmless."""
    if request.HasField("statement"):
        return classify(request.statement)
    if request.HasField("batch"):
        return batch_statement(request.batch)
    return ORDINARY


async def examined(request: pb.SessionRequest) -> Statement:
    """Do as `examine`, on a thread of its own where the parser is needed."""
    if request.HasField("statement") and (known := look(request.statement)) is not None:
        return known
    return await asyncio.get_running_loop().run_in_executor(_aside(), examine, request)


@cache
def _aside() -> ThreadPoolExecutor:
    before = threading.stack_size(_STACK_BYTES)
    try:
        executor = ThreadPoolExecutor(1, "examine")
        # Its thread starts now.
        executor.submit(int)
    finally:
        threading.stack_size(before)
    return executor
