"""The parent process: worker processes on one address, restarted when they crash.

One worker has a parent, too: native code that crashes then costs a second. Where it can,
it is forked, which spares it loading what the parent has loaded; several would inherit
each other's pipes, and are spawned.

Invariants: the parent talks to a worker through a pipe, never by signals, so a
Ctrl-C that reaches the whole group counts once; a worker whose pipe closes ends
at once, so none outlives a parent that was killed; the parent has no threads.
"""

import asyncio
import contextlib
import multiprocessing
import signal
import sys
from collections.abc import Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Final

import uvloop

from mtdd_router.server.config import ServerConfig
from mtdd_router.server.logs import configure_logging, get_logger
from mtdd_router.wire.address import Address

__all__ = ["run_workers"]

_READY, _DRAIN, _NOW = b"ready", b"drain", b"now"
_FIRST_DELAY: Final = 0.5
_LONGEST_DELAY: Final = 30.0
_SETTLED: Final = 60.0
# Beyond the drain, for closing.
_PATIENCE: Final = 5.0
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)
# Elsewhere, what belongs to the system may have threads that do not survive it.
_FORKS_SAFELY: Final = sys.platform.startswith("linux")

log = get_logger(__name__)


def run_workers(config: ServerConfig, addresses: Sequence[Address], folder: Path) -> int:
    """Serve from worker processes until a signal, and return the exit code."""
    return asyncio.run(_Supervisor(config, addresses, folder).run())


def _log_listening(config: ServerConfig, addresses: Sequence[Address]) -> None:
    log.info(
        "listening",
        address=" ".join(map(str, addresses)),
        workers=config.workers,
        pool_size=config.pool_size,
        tls=config.uses_tls,
    )


class _Worker:
    """One worker process, seen from the parent."""

    def __init__(
        self, config: ServerConfig, addresses: Sequence[Address], folder: Path, index: int
    ) -> None:
        forks = _FORKS_SAFELY and config.workers == 1
        context = multiprocessing.get_context("fork" if forks else "spawn")
        self._pipe, theirs = context.Pipe()
        # What is forked has the parent's end, too, and would never see it close.
        ours = self._pipe if forks else None
        self.process: BaseProcess = context.Process(  # type: ignore[attr-defined]
            target=_worker_main,
            args=(config, tuple(addresses), folder, index, (theirs, ours)),
            name=f"mtdd-shard-worker-{index}",
            daemon=True,
        )
        self.process.start()
        theirs.close()
        self.ready = asyncio.Event()
        self.exited = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(self.process.sentinel, self._on_exit)
        loop.add_reader(self._pipe.fileno(), self._on_message)

    def tell(self, order: bytes) -> None:
        with contextlib.suppress(OSError):
            self._pipe.send_bytes(order)

    def _on_message(self) -> None:
        try:
            if self._pipe.recv_bytes() == _READY:
                self.ready.set()
        except (EOFError, OSError):
            asyncio.get_running_loop().remove_reader(self._pipe.fileno())

    def _on_exit(self) -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader(self.process.sentinel)
        loop.remove_reader(self._pipe.fileno())
        self._pipe.close()
        self.process.join()
        self.exited.set()


class _Supervisor:
    def __init__(self, config: ServerConfig, addresses: Sequence[Address], folder: Path) -> None:
        self._config = config
        self._addresses = addresses
        self._folder = folder
        self._workers: dict[int, _Worker] = {}
        self._stopping = asyncio.Event()
        self._now = asyncio.Event()
        self._failed = False

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self._on_signal)
        async with asyncio.TaskGroup() as tasks:
            for index in range(self._config.workers):
                tasks.create_task(self._keep(index))
            tasks.create_task(self._announce())
            tasks.create_task(self._enforce())
        return 1 if self._failed else 0

    def _on_signal(self) -> None:
        if self._stopping.is_set():
            self._now.set()
        self._stop()

    def _stop(self) -> None:
        self._stopping.set()
        for worker in self._workers.values():
            worker.tell(_NOW if self._now.is_set() else _DRAIN)

    async def _keep(self, index: int) -> None:
        """Run the worker *index*, again and again, until the server stops."""
        loop = asyncio.get_running_loop()
        delay = _FIRST_DELAY
        was_ready = False
        while not self._stopping.is_set():
            started = loop.time()
            worker = _Worker(self._config, self._addresses, self._folder, index)
            self._workers[index] = worker
            await worker.exited.wait()
            was_ready = was_ready or worker.ready.is_set()
            if self._stopping.is_set():
                return
            code = worker.process.exitcode
            if not was_ready and code != -signal.SIGKILL:
                # What keeps it from starting will keep the next one from it, unless it
                # was killed from outside.
                log.error("worker_failed_to_start", worker=index, exit_code=code)
                self._failed = True
                self._stop()
                return
            if loop.time() - started > _SETTLED:
                delay = _FIRST_DELAY
            log.error("worker_crashed", worker=index, exit_code=code, restart_seconds=delay)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(delay):
                    await self._stopping.wait()
            delay = min(delay * 2, _LONGEST_DELAY)

    async def _announce(self) -> None:
        """Say that the server listens, once every worker does."""
        while not self._stopping.is_set():
            workers = list(self._workers.values())
            if len(workers) == self._config.workers and all(w.ready.is_set() for w in workers):
                _log_listening(self._config, self._addresses)
                return
            await asyncio.sleep(0.05)

    async def _enforce(self) -> None:
        """Kill the workers that do not end in time."""
        await self._stopping.wait()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._config.drain_timeout):
                await self._all_exited_or_now()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                await self._all_exited()
        for index, worker in self._workers.items():
            if not worker.exited.is_set():
                log.error("worker_killed", worker=index)
                worker.process.kill()

    async def _all_exited(self) -> None:
        for worker in list(self._workers.values()):
            await worker.exited.wait()

    async def _all_exited_or_now(self) -> None:
        exits = asyncio.ensure_future(self._all_exited())
        now = asyncio.ensure_future(self._now.wait())
        try:
            await asyncio.wait((exits, now), return_when=asyncio.FIRST_COMPLETED)
        finally:
            exits.cancel()
            now.cancel()


def _worker_main(
    config: ServerConfig,
    addresses: Sequence[Address],
    folder: Path,
    index: int,
    ends: tuple[Connection, Connection | None],
) -> None:
    """Run a worker process; *ends* are its own of the pipe, and the parent's if it has that."""
    pipe, parents_end = ends
    if parents_end is not None:
        parents_end.close()
        # Signals would otherwise reach the parent's event loop through its socket.
        signal.set_wakeup_fd(-1)
    # Only a process that serves pays for loading gRPC.
    from mtdd_router.server.app import Shutdown, serve_worker

    configure_logging(config.log_format, config.log_level)

    async def main() -> None:
        shutdown = Shutdown()
        loop = asyncio.get_running_loop()
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # From the parent's group or an operator: the same as the parent's order, and harmless
        # beside it.
        loop.add_signal_handler(signal.SIGTERM, shutdown.drain.set)

        def on_order() -> None:
            try:
                order = pipe.recv_bytes()
            except (EOFError, OSError):
                order = _NOW
                loop.remove_reader(pipe.fileno())
            shutdown.drain.set()
            if order == _NOW:
                shutdown.now.set()

        loop.add_reader(pipe.fileno(), on_order)
        try:
            await serve_worker(
                config,
                addresses,
                shutdown,
                folder=folder,
                worker=index,
                on_ready=lambda: pipe.send_bytes(_READY),
            )
        finally:
            loop.remove_reader(pipe.fileno())

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(main())
    except Exception:
        log.exception("worker_failed", worker=index)
        sys.exit(1)
