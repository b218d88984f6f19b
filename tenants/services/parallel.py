"""Doing the same to many tenants, a few at a time."""

from collections.abc import Callable, Generator, Iterable
from contextvars import copy_context
from queue import SimpleQueue
from threading import Event, Lock, Thread
from typing import Final, TypeVar

from django.db import connections

__all__ = ["in_parallel"]

T = TypeVar("T")
R = TypeVar("R")

_END: Final = object()


class _Failed:
    """What ended a worker."""

    def __init__(self, error: BaseException) -> None:
        self.error = error


class _Ended:
    """A worker has ended; work may return None as well."""


def in_parallel(
    items: Iterable[T],
    work: Callable[[T], R],
    *,
    parallel: int,
    stop: Event | None = None,
) -> Generator[R, None, None]:
    """Yield ``work(item)`` for each of *items*, in the order in which they are done.

    A worker has connections of its own, which end with it. A consumer that goes away has to
    close the generator, which finishes what is at hand.

    Args:
        items: taken as workers become free.
        work: returns its failures; what it raises ends all.
        parallel: how many at a time.
        stop: once it is set, nothing more is begun; those at hand are still yielded.

    Raises:
        KeyboardInterrupt: after the results of those at hand were yielded.
    """
    source, turn, stop = iter(items), Lock(), stop or Event()
    results: SimpleQueue[R | _Failed | _Ended] = SimpleQueue()

    def run() -> None:
        try:
            while not stop.is_set():
                with turn:
                    item = next(source, _END)
                if item is _END:
                    return
                results.put(work(item))  # type: ignore[arg-type]
        except BaseException as exc:  # noqa: BLE001 - raised by the consumer
            results.put(_Failed(exc))
        finally:
            # Those to tenants, too, that receivers of signals have opened.
            connections.close_all()
            results.put(_Ended())

    threads = [
        Thread(target=copy_context().run, args=(run,), name=f"tenants {number}")
        for number in range(parallel)
    ]
    for thread in threads:
        thread.start()
    interrupt: KeyboardInterrupt | None = None
    running = len(threads)
    try:
        while running:
            try:
                result = results.get()
            except KeyboardInterrupt as exc:
                interrupt = exc
                stop.set()
                continue
            if isinstance(result, _Ended):
                running -= 1
            elif isinstance(result, _Failed):
                raise result.error
            else:
                yield result
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    if interrupt is not None:
        raise interrupt
