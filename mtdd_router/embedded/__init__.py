"""Real PostgreSQL servers out of a pip package, and shard servers in front of them.

For development, tests and the demo. Needs the extra ``embedded``; imports no
Django. A stack lives in a folder::

    with Stack(Path(".mtdd")) as stack:
        psycopg.connect(stack.registry_dsn)
"""

from mtdd_router.embedded.certificates import Certificates, make_certificates
from mtdd_router.embedded.control import (
    ServiceStatus,
    StackStatus,
    administrator_dsns,
    registry_dsn,
    shard_addresses,
    stack_status,
    start_detached,
    stop_stack,
)
from mtdd_router.embedded.errors import StackError, StackRunning
from mtdd_router.embedded.options import StackOptions
from mtdd_router.embedded.stack import Stack
from mtdd_router.embedded.supervisor import asked_to_stop, supervise

__all__ = [
    "Certificates",
    "ServiceStatus",
    "Stack",
    "StackError",
    "StackOptions",
    "StackRunning",
    "StackStatus",
    "administrator_dsns",
    "asked_to_stop",
    "make_certificates",
    "registry_dsn",
    "shard_addresses",
    "stack_status",
    "start_detached",
    "stop_stack",
    "supervise",
]
