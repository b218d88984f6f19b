"""Which shards the tenants of tests are made on.

MTDD_TEST_SHARDS says it: a dict of names and addresses, or ``"embedded"`` for a stack that
is started once a run, which needs the extra ``embedded``. Without the setting it is the
running stack of MTDD_STACK_DIR. The shards that the project's registry knows are never
used, for they are real.
"""

import atexit
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from django.conf import settings

from mtdd_router.conf import mtdd_settings
from mtdd_router.errors import ConfigurationError

if TYPE_CHECKING:
    from mtdd_router.embedded import Stack

__all__ = ["EMBEDDED", "find_test_shards", "stop_embedded"]

EMBEDDED: Final = "embedded"
# Children of the process that has started a stack are told of it here.
_VARIABLE: Final = "MTDD_TEST_STACK"


def find_test_shards() -> dict[str, str]:
    """Return the addresses of shards by name; start the embedded stack if that is wanted.

    Raises:
        ConfigurationError: saying what to set.
        StackError: if the embedded stack does not start.
    """
    wanted = mtdd_settings.test_shards
    if wanted == EMBEDDED:
        return _embedded.addresses()
    if isinstance(wanted, Mapping) and wanted:
        return {str(name): str(address) for name, address in wanted.items()}
    if wanted is None and (running := _running_stack()):
        return running
    raise ConfigurationError(
        "Tests have no shard to make their tenants on. Start the stack that MTDD_STACK_DIR "
        "names (`manage.py mtdd_up --detach`), or set MTDD_TEST_SHARDS to the shards of tests, "
        'as {"test": "127.0.0.1:7401"}, or to "embedded" for a stack of each run.'
    )


def stop_embedded() -> None:
    """Stop the embedded stack, if this process has started one."""
    _embedded.stop()


def _running_stack() -> dict[str, str]:
    folder = getattr(settings, "MTDD_STACK_DIR", None)
    if not folder:
        return {}
    from mtdd_router.embedded import shard_addresses, stack_status

    if stack_status(Path(folder)).status != "running":
        return {}
    return dict(shard_addresses(Path(folder)))


class _Embedded:
    """The embedded stack of a run of tests; its processes end with this one, however it ends."""

    def __init__(self) -> None:
        self._stack: Stack | None = None
        self._folder: Path | None = None
        self._pid = 0

    def addresses(self) -> dict[str, str]:
        if _VARIABLE not in os.environ:
            self._start()
        addresses: dict[str, str] = json.loads(os.environ[_VARIABLE])
        return addresses

    def _start(self) -> None:
        from mtdd_router.embedded import Stack, StackOptions
        from mtdd_router.embedded.folders import scratch_folder

        self._pid = os.getpid()
        self._folder = scratch_folder(f"mtdd-tests-{self._pid}-")
        atexit.register(self.stop)
        # The registry of tests is where Django's runner has made it, so the stack has none.
        options = StackOptions(shards=1, durable=False, registry_dsn="dbname=elsewhere")
        self._stack = Stack(self._folder / "stack", options)
        self._stack.start()
        addresses = {server.name: server.address for server in self._stack.shard_servers}
        os.environ[_VARIABLE] = json.dumps(addresses)

    def stop(self, *_: Any) -> None:
        # Not in a child, which has only inherited it.
        if self._folder is None or self._pid != os.getpid():
            return
        os.environ.pop(_VARIABLE, None)
        if self._stack is not None:
            self._stack.stop()
        shutil.rmtree(self._folder, ignore_errors=True)
        self._stack = self._folder = None
        atexit.unregister(self.stop)


_embedded: Final = _Embedded()
