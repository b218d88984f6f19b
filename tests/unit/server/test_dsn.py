"""A connection string is understood whole, or refused by name."""

import pytest

from mtdd_router.server.postgres.dsn import Dsn


@pytest.fixture(autouse=True)
def no_environment(monkeypatch):
    for name in ("PGHOST", "PGPORT", "PGUSER", "PGPASSWORD", "PGDATABASE", "PGSSLMODE"):
        monkeypatch.delenv(name, raising=False)


def test_a_uri_and_a_keyword_string_mean_the_same():
    uri = Dsn.parse("postgresql://joe:pw@db.example:6543/app?sslmode=require")
    words = Dsn.parse("host=db.example port=6543 user=joe password=pw dbname=app sslmode=require")
    assert uri == words


def test_a_folder_as_host_is_a_unix_socket():
    dsn = Dsn.parse("host=/run/pg port=5433 user=joe")
    assert dsn.socket_path == "/run/pg/.s.PGSQL.5433"
    assert dsn.database == "joe"


def test_libpqs_environment_gives_the_defaults(monkeypatch):
    monkeypatch.setenv("PGHOST", "elsewhere")
    assert Dsn.parse("user=joe").host == "elsewhere"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nonsense", "not a PostgreSQL connection string"),
        ("host=a user=b keepalives_idle=1", "keepalives_idle"),
        ("host=a,b user=c", "several servers"),
        ("host=a user=c port=0", "port 0"),
        ("host=a user=c sslmode=perhaps", "perhaps"),
        ("host=a user=c connect_timeout=soon", "must be numbers"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(text, message):
    with pytest.raises(ValueError, match=message):
        Dsn.parse(text)


def test_no_secret_is_shown():
    dsn = Dsn.parse("host=a user=joe password=hunter2 sslpassword=hunter3")
    assert "hunter" not in repr(dsn) + dsn.describe()
