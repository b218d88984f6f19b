"""Ordinary statements, which a session answers without waking its task; see decision 0109.

The client sends what it likes, when it likes: the order of the answers stays.
"""

import contextlib
import time
from collections.abc import Callable, Iterator

import pytest

from mtdd_router.client.admin import ShardAdmin
from mtdd_router.types import Placement
from mtdd_router.wire.status import StatusCode
from tests.integration.server.by_hand import BareSession
from tests.integration.server.running import RunningServer

NewPlacement = Callable[..., Placement]


@pytest.fixture
def tenant(shared_admin: ShardAdmin, new_placement: NewPlacement) -> Placement:
    """A tenant of ``shared_server``."""
    return shared_admin.create_namespace(new_placement("abc"))


@pytest.fixture
def bare(shared_server: RunningServer, tenant: Placement) -> Iterator[BareSession]:
    with contextlib.closing(BareSession(shared_server.address, "abc")) as mine:
        # The tenant is known from now on, so that what follows may be taken at once.
        assert b"SELECT 1" in mine.run("SELECT 1").messages
        yield mine


def answer_of(bare: BareSession) -> bytes:
    """Return the parts of an answer as one; PostgreSQL sends an error before it is ready."""
    part = bare.receive()
    received = part.messages
    while not part.complete:
        part = bare.receive()
        received += part.messages
    return received


def test_requests_sent_together_are_answered_in_order(bare: BareSession) -> None:
    numbers = range(20)
    bare.socket.sendall(b"".join(bare.encoded(statement=b"SELECT %d" % n) for n in numbers))
    for number in numbers:
        assert b"%d" % number in bare.receive().messages


def test_requests_that_arrive_while_one_runs_are_answered_in_order(bare: BareSession) -> None:
    bare.send(statement=b"SELECT 'first', pg_sleep(0.3)")
    time.sleep(0.1)
    bare.send(statement=b"SELECT 'second'")
    bare.send(statement=b"SELECT 'third'")
    for name in (b"first", b"second", b"third"):
        response = bare.receive()
        assert response.complete
        assert name in response.messages


def test_the_last_request_is_answered_although_no_more_come(bare: BareSession) -> None:
    bare.send(statement=b"SELECT 'last', pg_sleep(0.3)")
    assert bare.finish() is StatusCode.OK
    assert b"last" in bare.receive().messages


def test_an_answer_in_parts_is_passed_on_whole(bare: BareSession) -> None:
    bare.send(statement=b"SELECT repeat('x', 1000) FROM generate_series(1, 20000)")
    assert answer_of(bare).count(b"x" * 1000) == 20_000
    assert b"SELECT 1" in bare.run("SELECT 1").messages


def test_a_statement_that_takes_too_long_is_canceled(bare: BareSession) -> None:
    started = time.monotonic()
    bare.send(statement=b"SELECT pg_sleep(20)", timeout_ms=300)
    assert b"57014" in answer_of(bare)
    assert time.monotonic() - started < 10
    # Its limit is not the next one's.
    assert b"SELECT 1" in bare.run("SELECT pg_sleep(0.5)").messages


def test_what_cannot_be_decoded_ends_the_call(bare: BareSession) -> None:
    bare.send_raw(b"no request")
    bare.wait(lambda: bare.status is not None)
    assert bare.status is not None
    assert bare.status.code is StatusCode.INTERNAL


def test_a_transaction_that_fails_at_its_first_statement_is_failed(bare: BareSession) -> None:
    bare.send(statement=b"SELECT 1/0", begin="BEGIN")
    answer = answer_of(bare)
    assert b"22012" in answer
    assert answer[-6:] == b"Z\0\0\0\5E"
    assert bare.run("ROLLBACK").messages[-6:] == b"Z\0\0\0\5I"
    assert b"SELECT 1" in bare.run("SELECT 1").messages


def test_a_transaction_may_begin_with_several_statements(bare: BareSession) -> None:
    answer = bare.run("SELECT 'one'; SELECT 'two'", begin="BEGIN READ ONLY")
    assert b"one" in answer.messages
    assert b"two" in answer.messages
    assert answer.messages[-6:] == b"Z\0\0\0\5T"
    assert bare.run("COMMIT").messages[-6:] == b"Z\0\0\0\5I"
