"""Every SQLSTATE that psycopg knows arrives as psycopg's own class, wrapped by Django as usual.

There is no table of them here: PostgreSQL's messages reach psycopg unread, and
psycopg's own table is complete by definition. What could go wrong is a SQLSTATE that
somebody on the way takes for one of its own.
"""

import psycopg
import pytest
from django.db import DatabaseError, InterfaceError, utils
from psycopg import errors

from mtdd_router import dbapi

CLASSES = {
    found.sqlstate: found
    for found in vars(errors).values()
    if isinstance(found, type) and issubclass(found, psycopg.Error) and found.sqlstate
}
# PL/pgSQL cannot raise a success, nor a warning's class as an error of another name.
RAISE = "DO $$ BEGIN RAISE EXCEPTION 'of a test' USING ERRCODE = '{}', DETAIL = 'd'; END $$"


def test_the_list_is_psycopgs_full_one():
    assert len(CLASSES) > 240
    for sqlstate, found in CLASSES.items():
        assert errors.lookup(sqlstate) is found


@pytest.mark.parametrize("way", ["direct", "connection"])
def test_every_sqlstate_raises_its_class_with_its_diagnostics(way, request):
    connection = request.getfixturevalue(way)
    for sqlstate, expected in CLASSES.items():
        with pytest.raises(psycopg.Error) as caught:
            connection.execute(RAISE.format(sqlstate))
        error = caught.value
        assert type(error) is expected, sqlstate
        assert (error.sqlstate, error.diag.sqlstate) == (sqlstate, sqlstate)
        assert (error.diag.message_primary, error.diag.message_detail) == ("of a test", "d")
        assert connection.execute("SELECT 1").fetchone() == (1,)


def test_djangos_class_for_each_is_the_one_that_it_has_for_psycopg():
    wrapper = utils.DatabaseErrorWrapper(type("Wrapper", (), {"Database": dbapi})())
    for expected in CLASSES.values():
        with pytest.raises((DatabaseError, InterfaceError)) as caught, wrapper:
            raise expected
        name = next(
            base.__name__ for base in expected.__mro__ if getattr(psycopg, base.__name__, 0) is base
        )
        assert type(caught.value) is getattr(utils, name)
