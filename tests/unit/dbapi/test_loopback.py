"""libpq, talking to this process."""

import psycopg
import pytest
from psycopg import errors, pq

from mtdd_router.dbapi import loopback
from mtdd_router.wire import backend

PARAMETERS = {
    "server_version": "18.1",
    "client_encoding": "UTF8",
    "standard_conforming_strings": "on",
    "TimeZone": "UTC",
}


@pytest.fixture
def link():
    link = loopback.Loopback("tenants", PARAMETERS)
    yield link
    link.close()


def test_libpq_believes_to_be_connected_to_a_server(link):
    assert link.pgconn.status == pq.ConnStatus.OK
    assert link.pgconn.server_version == 180001
    assert link.pgconn.db == b"tenants"
    assert link.pgconn.parameter_status(b"TimeZone") == b"UTC"


def test_parameters_can_change_between_statements(link):
    link.set_parameters({"TimeZone": "Europe/Vienna"})
    assert link.pgconn.parameter_status(b"TimeZone") == b"Europe/Vienna"


def sqlstates():
    found = sorted(code for code in errors._sqlcodes if len(code) == 5 and code.isupper())
    found += sorted(code for code in errors._sqlcodes if code.isdigit())
    assert len(found) > 240
    return found


@pytest.mark.parametrize("sqlstate", sqlstates())
def test_every_sqlstate_is_raised_as_psycopgs_own_class(sqlstate):
    link = loopback.borrow("errors", PARAMETERS)
    link.pgconn.send_query(b"SELECT 1")
    link.take()
    link.give(backend.error_response(sqlstate, "words") + backend.ready_for_query(b"I"))
    link.pgconn.consume_input()
    error = errors.error_from_result(link.pgconn.get_result())
    assert link.pgconn.get_result() is None
    loopback.give_back(link)
    assert type(error) is errors.lookup(sqlstate)
    assert error.diag.sqlstate == sqlstate
    assert error.diag.message_primary == "words"


def test_a_loopback_is_used_again_only_when_nothing_refers_to_it():
    loopback._free.clear()
    first = loopback.borrow("again", PARAMETERS)
    pgconn = first.pgconn
    loopback.give_back(first)
    # Somebody still holds the PGconn, as a forgotten cursor would: it is dead.
    assert pgconn.status == pq.ConnStatus.BAD
    with pytest.raises(psycopg.OperationalError):
        pgconn.send_query(b"SELECT 1")
    second = loopback.borrow("again", PARAMETERS)
    assert second is not first
    loopback.give_back(second)
    assert loopback.borrow("again", PARAMETERS) is second


def test_a_loopback_in_a_transaction_is_not_used_again():
    loopback._free.clear()
    link = loopback.borrow("busy", PARAMETERS)
    link.pgconn.send_query(b"BEGIN")
    link.take()
    link.give(backend.command_complete(b"BEGIN") + backend.ready_for_query(b"T"))
    link.pgconn.consume_input()
    while link.pgconn.get_result():
        pass
    loopback.give_back(link)
    assert "busy" not in loopback._free


def test_only_so_many_loopbacks_wait_to_be_used_again_whatever_their_names():
    loopback._free.clear()
    links = [loopback.borrow(f"database {n}", PARAMETERS) for n in range(loopback._KEPT + 5)]
    while links:
        loopback.give_back(links.pop())
    assert sum(map(len, loopback._free.values())) == loopback._KEPT
    loopback._close_free()
