"""Doing the same to many, a few at a time."""

import threading
from contextlib import closing

import pytest

from tenants.services.parallel import in_parallel


def test_work_that_returns_nothing_is_done_to_all():
    seen = []
    assert list(in_parallel(range(10), seen.append, parallel=3)) == [None] * 10
    assert sorted(seen) == list(range(10))


def test_what_work_raises_ends_all_after_what_is_at_hand():
    def work(number):
        if number == 3:
            raise RuntimeError("no such luck")
        return number

    with pytest.raises(RuntimeError, match="no such luck"):
        list(in_parallel(range(1000), work, parallel=2))


def test_nothing_is_begun_once_it_is_to_stop():
    stop, allowed = threading.Event(), threading.Semaphore(1)

    def work(number):
        allowed.acquire()
        return number

    done = []
    with closing(in_parallel(range(1000), work, parallel=2, stop=stop)) as results:
        for number in results:
            done.append(number)
            stop.set()
            allowed.release(2)
    assert len(done) <= 3
