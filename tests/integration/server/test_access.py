"""Callers of a shard server: what each may do, for how long, and how it is refused."""

import contextlib
import re
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import psycopg
import pytest

from mtdd_router import dbapi, errors
from mtdd_router.client.admin import ShardAdmin
from mtdd_router.client.call import CallFailed, call_once
from mtdd_router.client.endpoint import TLS, Endpoint
from mtdd_router.client.location import Location
from mtdd_router.client.session import sessions_of
from mtdd_router.client.tokens import TokenSigner, make_key
from mtdd_router.embedded import make_certificates
from mtdd_router.pb import shard_service_pb2 as service_pb
from mtdd_router.types import Isolation, Placement, TenantState
from mtdd_router.wire.status import StatusCode
from tests.integration.server.by_hand import Session
from tests.integration.server.conftest import _empty_database, _start
from tests.integration.server.running import RunningServer, wait_until
from tests.integration.server.test_tenant_sessions import Fixed

CALLERS = """
[web]
keys = ["web.pub", "web-2.pub"]
tenants = ["*"]

[reports]
keys = ["reports.pub"]
tenants = ["acme"]
read_only = true

[ops]
keys = ["ops.pub"]
admin = true

[certified]
certificates = ["mtdd client"]
tenants = ["acme"]
"""
KEYS = ("web", "web-2", "reports", "ops")


@dataclass
class Guarded:
    """A server with TLS and callers, two workers, and tenants acme and other."""

    server: RunningServer
    folder: Path
    shard_id: str

    @property
    def tls(self) -> TLS:
        return TLS(
            *(str(self.folder / name) for name in ("ca.pem", "client.pem", "client-key.pem"))
        )

    def endpoint(self, caller: str = "", key: str = "", **bounds: Any) -> Endpoint:
        signer = None
        if caller:
            # Each its own, so that tests do not use each other's sessions again.
            lifetime = bounds.pop("lifetime", 299 + secrets.randbelow(10**6) / 10**6)
            file = self.folder / f"{key or caller}.pem"
            signer = TokenSigner(caller, str(file), lifetime, **bounds)
        return Endpoint(self.server.address, "only", "", self.tls, signer, self.shard_id)

    def admin(self, caller: str = "ops", **bounds: Any) -> ShardAdmin:
        return ShardAdmin(endpoint=self.endpoint(caller, **bounds), timeout=20.0)

    def connect(
        self, caller: str, tenant: str = "acme", *, maintenance: bool = False, **bounds: Any
    ) -> Any:
        location = Location(self.endpoint(caller, **bounds), tenant, 1, maintenance)
        return dbapi.connect(Fixed(location), database=tenant, autocommit=True)

    def write_callers(self, text: str) -> None:
        (self.folder / "new.toml").write_text(text)
        (self.folder / "new.toml").replace(self.folder / "callers.toml")


@pytest.fixture(scope="module")
def guarded(postgres_dsn: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    made = make_certificates(folder, ["127.0.0.1", "localhost"], 1)
    for name in KEYS:
        make_key(folder / f"{name}.pem")
    (folder / "callers.toml").write_text(CALLERS)
    with contextlib.ExitStack() as cleanup:
        dsn = cleanup.enter_context(_empty_database(postgres_dsn))
        server = _start(
            cleanup,
            folder,
            dsn,
            workers=2,
            pool_size=16,
            callers=folder / "callers.toml",
            tls_certificate=made.server,
            tls_key=made.server_key,
            tls_client_ca=made.authority,
            token_grace=1,
            clock_skew=1,
        )
        site = Guarded(server, folder, "")
        wait_until(lambda: _answers(site))
        site.shard_id = ShardAdmin(endpoint=site.endpoint(), timeout=20.0).identity()
        admin = site.admin()
        for tenant in ("acme", "other"):
            name = f"t_{tenant}_{secrets.token_hex(4)}"
            admin.create_namespace(
                Placement(tenant, Isolation.SCHEMA, name, name, 1, TenantState.ACTIVE)
            )
        yield site


def _answers(site: Guarded) -> bool:
    with contextlib.suppress(errors.ShardError):
        return bool(ShardAdmin(endpoint=site.endpoint()).identity())
    return False


Connect = Callable[..., Any]


@pytest.fixture
def connect(guarded: Guarded) -> Iterator[Connect]:
    with contextlib.ExitStack() as opened:

        def connect(*args: Any, **options: Any) -> Any:
            connection = guarded.connect(*args, **options)
            opened.callback(connection.close)
            return connection

        yield connect


def one(connection: Any, statement: str = "SELECT 1") -> Any:
    return connection.execute(statement).fetchone()[0]


# Who


def test_each_caller_reaches_its_tenants_and_no_other(connect: Connect) -> None:
    assert one(connect("web", "acme")) == one(connect("web", "other")) == 1
    assert one(connect("reports", "acme")) == 1
    with pytest.raises(errors.ShardRefused, match="'reports' may not use tenant 'other'"):
        connect("reports", "other").execute("SELECT 1")
    with pytest.raises(errors.ShardRefused, match="'web' may not use tenant 'other'"):
        connect("web", "other", tenants=("acme",)).execute("SELECT 1")


def test_a_session_that_changes_its_tenant_is_checked_again(guarded: Guarded) -> None:
    token = guarded.endpoint("reports").metadata[0][1].removeprefix("Bearer ")
    credentials = _credentials(guarded)
    for marked in (True, False):
        session = Session(
            guarded.server.address, "acme", marked=marked, token=token, credentials=credentials
        )
        assert not session.run("SELECT 1").HasField("error")
        session._requests._tenant = "other"
        assert "may not use tenant 'other'" in session.run("SELECT 1").error.message
        session.close()


def _credentials(guarded: Guarded) -> grpc.ChannelCredentials:
    names = ("ca.pem", "client-key.pem", "client.pem")
    return grpc.ssl_channel_credentials(*((guarded.folder / name).read_bytes() for name in names))


def test_only_administrators_administer(guarded: Guarded, connect: Connect) -> None:
    assert guarded.admin("ops").info().shard_id == guarded.shard_id
    for caller, bounds in (("web", {}), ("reports", {}), ("ops", {"read_only": True}), ("", {})):
        name = caller or "certified"
        with pytest.raises(errors.ShardRefused, match=f"'{name}' may not administer"):
            guarded.admin(caller, **bounds).info()
    with pytest.raises(errors.ShardRefused, match="Maintenance .* caller 'web' lacks"):
        connect("web", maintenance=True).execute("SELECT 1")
    with pytest.raises(errors.ShardRefused, match="as a whole needs the admin permission"):
        location = Location(guarded.endpoint("web"), database="postgres")
        dbapi.connect(Fixed(location), database="x", autocommit=True).execute("SELECT 1")
    assert one(connect("ops", maintenance=True)) == 1


def test_a_certificate_alone_is_a_caller_on_either_path(guarded: Guarded, connect: Connect) -> None:
    assert one(connect("", "acme")) == 1
    with pytest.raises(errors.ShardRefused, match="'certified' may not use tenant 'other'"):
        connect("", "other").execute("SELECT 1")
    # Relayed to grpcio, it is the same caller.
    session = Session(guarded.server.address, "other", credentials=_credentials(guarded))
    assert "'certified' may not use" in session.run("SELECT 1").error.message
    session.close()


def test_calls_beside_a_session_need_a_caller_too_and_reach_the_other_worker(
    guarded: Guarded,
) -> None:
    endpoint = guarded.endpoint("web")
    session = sessions_of(endpoint).acquire(10.0)
    # Either worker may get the call, and passes it on if the session is not its own.
    for _ in range(8):
        session.cancel(1)
        assert session.outcome(99) == service_pb.OUTCOME_NOT_RECEIVED
    request = service_pb.CancelRequest(session_id=session.session_id, serial=1)
    for header in ("Bearer wrong", f"Bearer {'a' * 20}.{'b' * 20}.{'c' * 20}"):
        wrong = Endpoint(endpoint.address, "only", header.split()[1], endpoint.tls)
        for method in ("Cancel", "Outcome"):
            with pytest.raises(CallFailed) as caught:
                path = f"/mtdd.v1.ShardService/{method}"
                call_once(wrong, path, request.SerializeToString(), limit=10.0)
            assert caught.value.status.code is StatusCode.UNAUTHENTICATED
    session.close()


@pytest.mark.parametrize("method", ["Execute", "Listen"])
def test_execute_and_listen_are_checked_as_sessions_are(guarded: Guarded, method: str) -> None:
    kind = getattr(service_pb, f"{method}Request")
    request = kind()
    request.context.target.tenant.name = "other"
    request.context.target.tenant.epoch = 1
    path = f"/mtdd.v1.ShardService/{method}"
    stale = Endpoint(guarded.server.address, "", "x.y.z", guarded.tls)
    with pytest.raises(CallFailed) as caught:
        call_once(stale, path, request.SerializeToString(), limit=10.0)
    assert caught.value.status.code is StatusCode.UNAUTHENTICATED
    endpoint = guarded.endpoint("reports")
    if method == "Execute":
        request.statement = b"SELECT 1"
        answer = call_once(endpoint, path, request.SerializeToString(), limit=10.0)
        said = service_pb.ExecuteResponse.FromString(answer).error.message
    else:
        request.channel = "c"
        with pytest.raises(CallFailed) as caught:
            call_once(endpoint, path, request.SerializeToString(), limit=10.0)
        said = caught.value.status.message
    assert "'reports' may not use tenant 'other'" in said


# How long


def test_an_expired_token_is_replaced_without_anybody_noticing(
    guarded: Guarded, connect: Connect
) -> None:
    web = connect("web", lifetime=1.0)
    ended = len(guarded.server.events("session ended"))
    deadline = time.monotonic() + 5.0
    while time.monotonic() < deadline:
        assert one(web) == 1
        time.sleep(0.02)
    assert len(guarded.server.events("session ended")) > ended


def test_a_transaction_outlives_its_token_by_the_grace_only(connect: Connect) -> None:
    web = connect("web", lifetime=1.1)
    began = time.monotonic()
    with pytest.raises(psycopg.OperationalError, match="--token-grace are over.* rolled back"):
        with web.transaction():
            while time.monotonic() < began + 15.0:
                assert one(web) == 1
                time.sleep(0.02)
    # Of the token's life half at least, what clocks may be off, and the grace.
    assert 2.5 <= time.monotonic() - began < 10.0
    assert one(connect("web", lifetime=1.1)) == 1


def test_a_token_for_another_shard_is_refused(guarded: Guarded) -> None:
    endpoint = Endpoint(
        guarded.server.address,
        "only",
        "",
        guarded.tls,
        TokenSigner("web", str(guarded.folder / "web.pem")),
        "another-shard",
    )
    with pytest.raises(errors.ShardRefused, match="the token is for another shard than this one"):
        sessions_of(endpoint).acquire(5.0)


def test_keys_rotate_under_load_without_a_failure(guarded: Guarded, connect: Connect) -> None:
    """The key's file is replaced, then the old one is listed no more."""
    key = guarded.folder / "rotating.pem"
    key.write_bytes((guarded.folder / "web.pem").read_bytes())
    web = connect("web", key="rotating", lifetime=250.0)
    before = one(web, "SELECT 1")
    key.write_bytes((guarded.folder / "web-2.pem").read_bytes())
    try:
        guarded.write_callers(CALLERS.replace('"web.pub", ', ""))
        deadline = time.monotonic() + 6.0
        while time.monotonic() < deadline:
            assert one(web, "SELECT 1") == before
            time.sleep(0.02)
        with pytest.raises(errors.ShardRefused, match="a key that no caller here has"):
            connect("web").execute("SELECT 1")
    finally:
        guarded.write_callers(CALLERS)
        wait_until(lambda: len(guarded.server.events("callers_read")) >= 4)


def test_a_revoked_callers_transaction_is_ended(guarded: Guarded, connect: Connect) -> None:
    web = connect("web")
    cut = len(guarded.server.events("session_cut"))
    with pytest.raises(psycopg.OperationalError, match="listed no more.* was rolled back"):
        try:
            with web.transaction():
                web.execute("SELECT 1")
                guarded.write_callers(CALLERS.replace('"web.pub", "web-2.pub"', '"web-2.pub"'))
                wait_until(lambda: len(guarded.server.events("session_cut")) > cut)
                web.execute("SELECT 1")
        finally:
            guarded.write_callers(CALLERS)
            # Until both workers have looked again.
            time.sleep(2.5)


# Reading only


@pytest.fixture
def table(connect: Connect) -> Iterator[Any]:
    """A table of acme with one row, a sequence, and functions that a migration made."""
    ops = connect("ops", maintenance=True)
    ops.execute(
        """
        CREATE TABLE t (id serial PRIMARY KEY, word text);
        INSERT INTO t (word) VALUES ('kept');
        CREATE SEQUENCE counter;
        CREATE FUNCTION writes() RETURNS void LANGUAGE sql AS
            $$ INSERT INTO t (word) VALUES ('written') $$;
        CREATE FUNCTION unlocks() RETURNS text LANGUAGE sql AS
            $$ SELECT set_config('default_transaction_read_only', 'off', false) $$;
        CREATE FUNCTION unlocks_this() RETURNS text LANGUAGE sql AS
            $$ SELECT set_config('transaction_read_only', 'off', true) $$;
        CREATE PROCEDURE writes_later() LANGUAGE plpgsql AS
            $$ BEGIN PERFORM unlocks(); COMMIT; PERFORM writes(); END $$;
        """
    )
    yield ops
    ops.execute(
        "DROP TABLE t; DROP SEQUENCE counter; DROP FUNCTION writes, unlocks, unlocks_this;"
        "DROP PROCEDURE writes_later; DROP TABLE IF EXISTS made"
    )


INSERT = "INSERT INTO t (word) VALUES ('written')"
# Each is run on one connection, errors ignored.
WRITES: dict[str, list[str]] = {
    "insert": [INSERT],
    "update": ["UPDATE t SET word = 'written'"],
    "delete": ["DELETE FROM t"],
    "in a CTE": [f"WITH w AS ({INSERT} RETURNING 1) SELECT * FROM w"],
    "truncate": ["TRUNCATE t"],
    "merge": [
        "MERGE INTO t USING (SELECT 1) s ON true WHEN MATCHED THEN UPDATE SET word = 'written'"
    ],
    "create": ["CREATE TABLE made (i int)"],
    "create as": ["CREATE TABLE made AS SELECT 1 AS i"],
    "select into": ["SELECT 1 AS i INTO made"],
    "explain analyze": [f"EXPLAIN ANALYZE {INSERT}"],
    "prepared": [f"PREPARE p AS {INSERT}", "EXECUTE p"],
    "function": ["SELECT writes()"],
    "procedure": ["CALL writes_later()"],
    "begin read write": ["BEGIN READ WRITE", INSERT, "COMMIT"],
    "begin, commented": ["BEGIN READ/**/WRITE", INSERT, "COMMIT"],
    "start transaction": ["START TRANSACTION READ WRITE", INSERT, "COMMIT"],
    "set transaction": ["BEGIN", "SET TRANSACTION READ WRITE", INSERT, "COMMIT"],
    "set local": ["BEGIN", "SET LOCAL transaction_read_only = off", INSERT, "COMMIT"],
    "session characteristics": [
        "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
        INSERT,
    ],
    "the default": ["SET default_transaction_read_only = off", INSERT],
    "the default, quoted": ['SET "Default_Transaction_Read_Only" TO off', INSERT],
    "the default, reset": ["RESET default_transaction_read_only", INSERT],
    "set_config": ["SELECT set_config('default_transaction_read_only', 'off', false)", INSERT],
    "set_config, escaped": [
        "SELECT set_config(U&'default\\005ftransaction_read_only', 'off', false)",
        INSERT,
    ],
    "set_config, computed": [
        "SELECT set_config('default_transaction_' || 'read_only', 'off', false)",
        INSERT,
    ],
    "set_config, this one": ["SELECT set_config('transaction_read_only', 'off', true)", INSERT],
    "pg_settings": [
        "UPDATE pg_settings SET setting = 'off' WHERE name = 'default_transaction_read_only'",
        INSERT,
    ],
    "hidden in a function": ["SELECT unlocks()", INSERT],
    "hidden, in two": ["SELECT unlocks()", "SELECT writes()"],
    "hidden, in one string": ["SELECT unlocks(); COMMIT; SELECT writes()"],
    "hidden, in a transaction": ["BEGIN", "SELECT unlocks()", "COMMIT", "SELECT writes()"],
    "hidden, and pinned": ["CREATE TEMP TABLE x ()", "SELECT unlocks()", "SELECT writes()"],
    "hidden, held": [
        "DECLARE c CURSOR WITH HOLD FOR SELECT 1",
        "SELECT unlocks()",
        "SELECT writes()",
    ],
    "hidden, this one": ["BEGIN", "SELECT unlocks_this()", "SELECT writes()", "COMMIT"],
    "hidden, this one, at once": ["SELECT unlocks_this(), writes()"],
    "hidden, and committed": ["BEGIN", "SELECT unlocks()", "COMMIT; SELECT writes()"],
    "after a savepoint": ["BEGIN", "SAVEPOINT s", "SELECT unlocks()", "SELECT writes()", "COMMIT"],
    "chained": ["BEGIN", "SELECT unlocks()", "COMMIT AND CHAIN", "SELECT writes()", "COMMIT"],
    "do": ["DO $$ BEGIN INSERT INTO t (word) VALUES ('written'); END $$"],
    "nextval": ["SELECT nextval('counter')"],
    "setval": ["SELECT setval('counter', 77)"],
    "two-phase": ["BEGIN", "PREPARE TRANSACTION 'x'", "COMMIT PREPARED 'x'"],
    "large object": ["SELECT lo_from_bytea(0, 'x')"],
    "large object, created": ["SELECT lo_create(0)"],
    "notify": ["NOTIFY c", "SELECT pg_notify('c', 'x')"],
    "lock": ["BEGIN", "LOCK TABLE t", "COMMIT"],
}
STATE = """
    SELECT (SELECT array_agg((id, word)::text ORDER BY id) FROM t), to_regclass('made'),
           (SELECT (last_value, is_called)::text FROM counter),
           (SELECT count(*) FROM pg_largeobject_metadata)
"""


def attack(connection: Any, statements: list[str]) -> list[str]:
    said = []
    for statement in statements:
        try:
            connection.execute(statement)
        except psycopg.Error as exc:
            said.append(str(exc))
    with contextlib.suppress(psycopg.Error):
        connection.execute("ROLLBACK")
    return said


@pytest.mark.parametrize("name", WRITES)
def test_a_caller_that_may_only_read_changes_nothing(
    connect: Connect, table: Any, name: str
) -> None:
    before = table.execute(STATE).fetchone()
    reports = connect("reports")
    said = attack(reports, WRITES[name])
    assert table.execute(STATE).fetchone() == before
    assert any(re.search("only read|read-only|read-write mode|refused", text) for text in said)
    # It can go on reading, on the same connection.
    assert one(reports, "SELECT count(*) FROM t") == 1
    # And whoever may write gets the same backend connections, and can.
    web = connect("web")
    web.execute(INSERT)
    table.execute("DELETE FROM t WHERE word = 'written'")


# What only others feel, or what a guard refuses to all.
NOT_SHOWN = {"two-phase", "notify", "lock", "do", "pg_settings", "set_config, computed"}


@pytest.mark.parametrize("name", [name for name in WRITES if name not in NOT_SHOWN])
def test_the_same_by_a_caller_that_may_write_does_change_something(
    connect: Connect, table: Any, name: str
) -> None:
    before = table.execute(STATE).fetchone()
    attack(connect("web"), WRITES[name])
    assert table.execute(STATE).fetchone() != before


def test_copy_from_is_refused_and_copy_to_is_not(connect: Connect, table: Any) -> None:
    reports = connect("reports")
    with reports.cursor() as cursor, cursor.copy("COPY t TO STDOUT") as copy:
        assert b"kept" in b"".join(copy)
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="COPY FROM writes"):
        with reports.cursor() as cursor, cursor.copy("COPY t FROM STDIN") as copy:
            copy.write(b"2\twritten\n")
    assert one(reports, "SELECT count(*) FROM t") == 1


def test_by_the_extended_protocol_it_is_the_same(connect: Connect, table: Any) -> None:
    reports = connect("reports")
    assert reports.execute("SELECT word FROM t WHERE id = %s", [1], prepare=True).fetchall()
    with pytest.raises(psycopg.errors.InsufficientPrivilege, match="Insert statements do more"):
        reports.execute("INSERT INTO t (word) VALUES (%s)", ["written"], prepare=True)
    with contextlib.suppress(psycopg.Error), reports.pipeline():
        reports.execute("SELECT unlocks()")
        reports.execute("SELECT writes()")
    assert one(table, "SELECT count(*) FROM t") == 1
    with contextlib.suppress(psycopg.Error), reports.pipeline() as pipeline:
        reports.execute("SELECT unlocks()")
        pipeline.sync()
        reports.execute("SELECT writes()")
    assert one(table, "SELECT count(*) FROM t") == 1


def test_what_reads_is_allowed(connect: Connect, table: Any) -> None:
    reports = connect("reports")
    for statement in (
        "SELECT word FROM t ORDER BY id LIMIT 1",
        "WITH w AS (SELECT 1) SELECT * FROM w",
        "EXPLAIN ANALYZE SELECT * FROM t",
        "SHOW default_transaction_read_only",
        "SET TimeZone = 'UTC'",
        "BEGIN READ ONLY",
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
        "SAVEPOINT s",
        "DECLARE c CURSOR FOR SELECT * FROM t",
        "FETCH ALL FROM c",
        "CLOSE c",
        "ROLLBACK TO SAVEPOINT s",
        "COMMIT",
    ):
        reports.execute(statement)
    assert one(reports, "SHOW transaction_read_only") == "on"
    with reports.transaction():
        assert one(reports, "SELECT count(*) FROM t") == 1


def test_a_context_cannot_declare_that_it_may_write(guarded: Guarded) -> None:
    token = guarded.endpoint("reports").metadata[0][1].removeprefix("Bearer ")
    session = Session(
        guarded.server.address,
        "acme",
        marked=True,
        token=token,
        credentials=_credentials(guarded),
    )
    assert not session.run("SELECT 1").HasField("error")
    assert "READ WRITE would" in session.run("SELECT 1", begin="BEGIN READ WRITE").error.message
    request = session._requests.next(statement=b"SELECT 1")
    request.context.target.tenant.name = "acme"
    request.context.target.tenant.epoch = 1
    request.context.settings.add(name="Default_Transaction_Read_Only", value="off")
    session._queue.put(request)
    assert "cannot be set" in session.answer().error.message
    session.close()
