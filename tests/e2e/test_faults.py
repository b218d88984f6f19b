"""What the application sees when a part fails: the table "Failure" of the design.

One shard of its own, whose server and PostgreSQL are killed, stopped, drained and
started again; between client and server stands a relay that can cut the line.
"""

import contextlib
import os
import re
import select
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.contrib.auth.models import User
from django.db import InterfaceError, OperationalError, connections, transaction
from django.db.models import Model
from psycopg.errors import AdminShutdown

from mtdd_router import last_write
from mtdd_router.backend.locators import TenantLocator
from mtdd_router.client import session as client
from mtdd_router.client.exchange import Exchange, ExchangeFailed
from mtdd_router.directory import directory
from mtdd_router.embedded import Stack, StackOptions
from mtdd_router.embedded.ports import HOST, is_free
from mtdd_router.embedded.postgres import SUPERUSER, PostgresServer
from mtdd_router.embedded.processes import wait_until
from mtdd_router.embedded.shard_server import ShardServer
from mtdd_router.errors import OutcomeUnknown, ShardError, ShardUnavailable
from mtdd_router.wire.framing import compose, whole_messages
from tenants import services

SHARD, TENANT = "fragile", "abc"
PATIENCE = 15.0
# Writes a row after as many seconds as it is told.
SLOW_INSERT = """
    INSERT INTO auth_user (username, password, first_name, last_name, email,
                           is_superuser, is_staff, is_active, date_joined)
    SELECT %s, '', '', '', '', false, false, true, now() FROM pg_sleep(%s)
"""

MANY = 8000

COPY_IN = "COPY auth_group (name) FROM STDIN"
COPY_OUT = "COPY (SELECT repeat('x', 100) FROM generate_series(1, 3000000)) TO STDOUT"


class Relay:
    """A TCP relay to *target*, as a network between client and server; it can be cut."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._listener = socket.create_server((HOST, 0))
        self.address = f"{HOST}:{self._listener.getsockname()[1]}"
        self._near: set[socket.socket] = set()
        self._loses_answers = threading.Event()
        self._carriers = ThreadPoolExecutor(64)
        self._acceptor = threading.Thread(target=self._accept)
        self._acceptor.start()

    def lose_answers(self) -> None:
        """Carry nothing back to the client any more, until the line is cut."""
        self._loses_answers.set()

    def cut(self) -> None:
        """Cut every connection; new ones may be made."""
        self._loses_answers.clear()
        for near in list(self._near):
            with contextlib.suppress(OSError):
                near.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        with self._listener:
            self._listener.shutdown(socket.SHUT_RDWR)
        self._acceptor.join()
        self.cut()
        self._carriers.shutdown()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self._near.add(near)
                self._carriers.submit(self._carry, near)

    def _carry(self, near: socket.socket) -> None:
        with near, contextlib.suppress(OSError):
            with socket.create_connection(self._target) as far:
                towards = {near: far, far: near}
                while True:
                    for source in select.select([near, far], [], [])[0]:
                        data = source.recv(1 << 16)
                        if not data:
                            raise ConnectionResetError
                        if source is near or not self._loses_answers.is_set():
                            towards[source].sendall(data)
        self._near.discard(near)


@dataclass
class Site:
    """The shard that the tests break, and what is really there."""

    server: ShardServer
    postgres: PostgresServer
    schema: str = ""
    rows: tuple[Model, ...] = ()
    relay: Relay = field(init=False)

    def __post_init__(self) -> None:
        self.relay = Relay((HOST, self.server.port))

    @property
    def address(self) -> str:
        return self.relay.address

    def kill(self) -> None:
        """End the server as kill -9 does; from any thread."""
        process = self.server.process
        assert process is not None
        process.kill()
        process.wait()
        # The worker lives until it sees that its parent has gone, and answers till then.
        assert wait_until(lambda: is_free(self.server.port), timeout=PATIENCE, pause=0.001)

    def start(self) -> None:
        """Start the server; from any thread."""
        self.server.start()
        self.server.wait_ready()

    def heal(self) -> None:
        if not self.postgres.running:
            self.postgres.start()
            self.postgres.wait_ready()
        if not self.server.running:
            self.start()

    def ask(self, query: str, *arguments: Any) -> list[tuple[Any, ...]]:
        """Ask PostgreSQL itself, as its superuser."""
        dsn = self.postgres.dsn(user=SUPERUSER, password=self.postgres.password, database="mtdd")
        with psycopg.connect(dsn, autocommit=True) as connection:
            answer = connection.execute(query, arguments)
            return answer.fetchall() if answer.description else []

    def names(self) -> list[str]:
        """Return who is in the tenant's table."""
        rows = self.ask(f'SELECT username FROM "{self.schema}".auth_user ORDER BY 1')
        return [row[0] for row in rows]

    def runs(self, text: str) -> bool:
        """Tell whether a statement with *text* runs at this moment."""
        query = """SELECT count(*) FROM pg_stat_activity
                   WHERE state = 'active' AND query LIKE %s AND pid <> pg_backend_pid()"""
        return bool(self.ask(query, f"%{text}%")[0][0])

    def open_transactions(self) -> int:
        """Return how many transactions of the shard server are open."""
        query = """SELECT count(*) FROM pg_stat_activity
                   WHERE application_name = 'mtdd_shard' AND xact_start IS NOT NULL"""
        return int(self.ask(query)[0][0])

    @contextlib.contextmanager
    def slow_commit(self, seconds: float) -> Iterator[None]:
        """Let each COMMIT that wrote a user take *seconds* longer."""
        self.ask(f"""
            CREATE FUNCTION public.dawdle() RETURNS trigger LANGUAGE plpgsql AS
            $$ BEGIN PERFORM pg_sleep({seconds}); RETURN NULL; END $$;
            CREATE CONSTRAINT TRIGGER dawdle AFTER INSERT ON "{self.schema}".auth_user
            DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION public.dawdle()
        """)
        try:
            yield
        finally:
            self.heal()
            self.ask("DROP FUNCTION public.dawdle() CASCADE")


@pytest.fixture(scope="module")
def whole_site(module_stack_folder: Path) -> Iterator[Site]:
    with Stack(module_stack_folder, StackOptions(shards=1, durable=False)) as stack:
        postgres = next(server for server in stack.postgres if server.name == "shard1")
        site = Site(stack.shard_servers[0], postgres)
        yield site
        site.relay.close()


@pytest.fixture
def site(transactional_db: None, whole_site: Site) -> Iterator[Site]:
    """The shard, whole and empty, with one tenant."""
    directory.forget()
    whole_site.heal()
    if whole_site.rows:
        # The registry is emptied after each test; the shard keeps what it has.
        for row in whole_site.rows:
            row.save(force_insert=True)
        whole_site.ask(f'TRUNCATE "{whole_site.schema}".auth_user CASCADE')
    else:
        shard = services.register_shard(SHARD, whole_site.address)
        tenant = services.create_tenant(TENANT, shard=SHARD)
        whole_site.rows, whole_site.schema = (shard, tenant), tenant.namespace
    yield whole_site
    connections[TENANT].close()
    directory.forget()


@contextlib.contextmanager
def meanwhile(action: Callable[[], object], *, when: Callable[[], bool]) -> Iterator[None]:
    """Do *action* in another thread as soon as *when* says so, during the block."""

    def work() -> None:
        assert wait_until(when, timeout=PATIENCE, pause=0.02), "the moment never came"
        action()

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(work)
        yield
        future.result()


@contextlib.contextmanager
def answer_lost(site: Site, text: str) -> Iterator[None]:
    """Lose the answer to a statement with *text* on the way, and cut the line when it has run."""

    def lose() -> None:
        site.relay.lose_answers()
        assert wait_until(lambda: not site.runs(text), timeout=PATIENCE)
        site.relay.cut()

    with meanwhile(lose, when=lambda: site.runs(text)):
        yield


def answers(site: Site) -> bool:
    """Tell whether PostgreSQL takes connections."""
    with contextlib.suppress(psycopg.OperationalError):
        return bool(site.ask("SELECT 1"))
    return False


def add(name: str) -> None:
    User.objects.mtdd(TENANT).create(username=name)


def impatient(seconds: float) -> None:
    """Let this thread's connection to the tenant give up after *seconds*."""
    connections[TENANT].close()
    connections[TENANT].settings_dict["OPTIONS"]["connect_timeout"] = seconds


@pytest.fixture
def patient_again() -> Iterator[None]:
    yield
    connections[TENANT].close()
    connections[TENANT].settings_dict["OPTIONS"].pop("connect_timeout", None)


def unavailable(site: Site) -> Any:
    """Expect Django's OperationalError that says which shard cannot be reached, and where."""
    return raised(ShardUnavailable, site)


@contextlib.contextmanager
def raised(kind: type[Exception], site: Site, says: str = "") -> Iterator[None]:
    text = f"{says}.*{SHARD}.*{re.escape(site.address)}"
    with pytest.raises(OperationalError, match=text) as caught:
        yield
    assert isinstance(caught.value.__cause__, kind), repr(caught.value.__cause__)


def lost(kind: type[Exception], site: Site) -> contextlib.AbstractContextManager[None]:
    """What was under way is lost, and that is said in the words of a direct connection."""
    return raised(kind, site, "server closed the connection unexpectedly")


# A shard server that is killed


def test_a_server_killed_and_started_while_the_client_was_idle_is_not_noticed(site: Site) -> None:
    add("before")
    site.kill()
    site.start()
    add("after")
    assert site.names() == ["after", "before"]


def test_a_statement_waits_for_a_server_that_is_being_started_again(site: Site) -> None:
    add("before")
    site.kill()
    # Before the client has noticed, the statement is sent to nobody, and its outcome unknown.
    pools = [pool for endpoint, pool in client._pools.items() if endpoint.shard == SHARD]
    mine = [session for pool in pools for session in pool._idle]
    assert wait_until(lambda: not any(session.alive for session in mine), timeout=PATIENCE)
    with meanwhile(site.start, when=lambda: True):
        add("after")
    assert site.names() == ["after", "before"]


@pytest.mark.usefixtures("patient_again")
def test_a_server_that_stays_dead_is_named_with_its_address_in_time(site: Site) -> None:
    impatient(1.0)
    add("before")
    site.kill()
    # Until the client has noticed, a statement is sent to nobody, and that is not known.
    for kind in (ShardError, ShardUnavailable):
        started = time.monotonic()
        with raised(kind, site):
            User.objects.mtdd(TENANT).count()
        assert time.monotonic() - started < 3.0
    site.start()
    impatient(5.0)
    assert User.objects.mtdd(TENANT).count() == 1


def test_a_transaction_whose_server_is_killed_is_rolled_back_and_the_next_one_works(
    site: Site,
) -> None:
    with lost(ShardUnavailable, site), transaction.atomic(using=TENANT):
        add("lost")
        site.kill()
        add("lost too")
    site.start()
    with transaction.atomic(using=TENANT):
        add("kept")
    assert site.names() == ["kept"]


def test_nothing_of_a_broken_transaction_goes_on_outside_of_it(site: Site) -> None:
    with pytest.raises(OperationalError), transaction.atomic(using=TENANT):
        add("lost")
        site.kill()
        site.start()
        with contextlib.suppress(OperationalError):
            add("lost too")
        # A server is there again, but this belongs to the transaction that is lost.
        with contextlib.suppress(transaction.TransactionManagementError, InterfaceError):
            add("never on its own")
    assert site.names() == []
    add("kept")
    assert site.names() == ["kept"]


def test_an_autocommit_write_whose_server_is_killed_is_never_sent_again(site: Site) -> None:
    def kill_and_start() -> None:
        site.kill()
        site.start()

    with meanwhile(kill_and_start, when=lambda: site.runs("pg_sleep")):
        with lost(OutcomeUnknown, site), connections[TENANT].cursor() as cursor:
            cursor.execute(SLOW_INSERT, ["once", 1.0])
    assert wait_until(lambda: not site.runs("pg_sleep"), timeout=PATIENCE)
    assert site.names() in ([], ["once"])
    add("later")


def test_a_commit_whose_server_is_killed_has_an_unknown_outcome(site: Site) -> None:
    with site.slow_commit(1.0):
        with meanwhile(site.kill, when=lambda: site.runs("COMMIT")):
            with lost(OutcomeUnknown, site), transaction.atomic(using=TENANT):
                add("perhaps")
        site.start()
        assert wait_until(lambda: not site.runs("COMMIT"), timeout=PATIENCE)
    assert site.names() in ([], ["perhaps"])
    with transaction.atomic(using=TENANT):
        add("sure")
    assert "sure" in site.names()


def test_a_last_write_whose_server_is_killed_while_it_commits_has_an_unknown_outcome(
    site: Site,
) -> None:
    with site.slow_commit(1.0):
        with meanwhile(site.kill, when=lambda: site.runs("COMMIT")):
            with lost(OutcomeUnknown, site), transaction.atomic(using=TENANT):
                add("perhaps")
                with last_write(using=TENANT):
                    add("perhaps too")
        site.start()
        assert wait_until(lambda: not site.runs("COMMIT"), timeout=PATIENCE)
    assert site.names() in ([], ["perhaps", "perhaps too"])


def test_a_last_write_whose_backend_is_killed_before_the_commit_is_rolled_back(site: Site) -> None:
    def kill_the_backend() -> None:
        query = "SELECT pid FROM pg_stat_activity WHERE query LIKE %s AND pid <> pg_backend_pid()"
        for (pid,) in site.ask(query, "%pg_sleep%"):
            os.kill(pid, signal.SIGKILL)

    with meanwhile(kill_the_backend, when=lambda: site.runs("pg_sleep")):
        with pytest.raises(OperationalError, match="was rolled back") as caught:
            with transaction.atomic(using=TENANT):
                add("lost")
                with last_write(using=TENANT), connections[TENANT].cursor() as cursor:
                    cursor.execute(SLOW_INSERT, ["lost too", 5.0])
    assert isinstance(caught.value.__cause__, ShardUnavailable)
    # PostgreSQL starts anew after that.
    assert wait_until(lambda: answers(site), timeout=PATIENCE)
    assert site.names() == []


# A line that is cut


def test_a_commit_whose_answer_was_lost_on_the_way_is_known_to_have_succeeded(site: Site) -> None:
    with site.slow_commit(0.5), answer_lost(site, "COMMIT"):
        with transaction.atomic(using=TENANT):
            add("kept")
    assert site.names() == ["kept"]
    add("later")


def test_a_last_write_whose_answer_was_lost_on_the_way_says_that_all_was_committed(
    site: Site,
) -> None:
    with site.slow_commit(0.5), answer_lost(site, "COMMIT"):
        with pytest.raises(OperationalError, match="committed with its last write") as caught:
            with transaction.atomic(using=TENANT):
                add("first")
                with last_write(using=TENANT):
                    add("last")
    assert isinstance(caught.value.__cause__, OutcomeUnknown)
    assert site.names() == ["first", "last"]
    add("later")


@pytest.mark.parametrize("first", [True, False])
def test_a_last_write_whose_long_answer_was_cut_off_says_that_it_took_effect(
    site: Site,
    first: bool,
) -> None:
    many = f"""
        INSERT INTO auth_user (username, password, first_name, last_name, email,
                               is_superuser, is_staff, is_active, date_joined)
        SELECT 'user ' || n, '', '', '', '', false, false, true, now()
        FROM generate_series(1, {MANY}) AS n RETURNING repeat('x', 500)
    """

    with site.slow_commit(0.0001), answer_lost(site, "COMMIT"):
        with pytest.raises(OperationalError, match="result is lost") as caught:
            with transaction.atomic(using=TENANT), connections[TENANT].cursor() as cursor:
                if not first:
                    add("first")
                with last_write(using=TENANT):
                    cursor.execute(many)
    assert isinstance(caught.value.__cause__, OutcomeUnknown)
    assert len(site.names()) == MANY + (not first)


def test_a_last_write_that_was_cut_off_while_it_ran_is_rolled_back(site: Site) -> None:
    with meanwhile(site.relay.cut, when=lambda: site.runs("pg_sleep")):
        with lost(ShardUnavailable, site), transaction.atomic(using=TENANT):
            add("lost")
            with last_write(using=TENANT), connections[TENANT].cursor() as cursor:
                cursor.execute(SLOW_INSERT, ["lost too", 0.5])
    assert site.names() == []
    with transaction.atomic(using=TENANT), last_write(using=TENANT):
        add("kept")
    assert site.names() == ["kept"]


def test_a_transaction_of_one_last_write_that_was_cut_off_is_done_exactly_once(site: Site) -> None:
    # The server cancels it, knows that it had no effect, and so it is sent again.
    with meanwhile(site.relay.cut, when=lambda: site.runs("pg_sleep")):
        with transaction.atomic(using=TENANT), last_write(using=TENANT):
            with connections[TENANT].cursor() as cursor:
                cursor.execute(SLOW_INSERT, ["once", 0.5])
                assert cursor.rowcount == 1
    assert site.names() == ["once"]


def test_a_write_whose_answer_was_lost_on_the_way_says_so_and_is_not_repeated(site: Site) -> None:
    with answer_lost(site, "pg_sleep"):
        with pytest.raises(OperationalError, match="It took effect") as caught:
            with connections[TENANT].cursor() as cursor:
                cursor.execute(SLOW_INSERT, ["once", 0.5])
    assert isinstance(caught.value.__cause__, OutcomeUnknown)
    assert site.names() == ["once"]
    add("later")


def test_a_commit_that_was_cut_off_while_it_ran_is_reported_as_what_it_became(site: Site) -> None:
    said = ""
    with site.slow_commit(0.5), meanwhile(site.relay.cut, when=lambda: site.runs("COMMIT")):
        try:
            with transaction.atomic(using=TENANT):
                add("kept")
        except OperationalError as exc:
            said = str(exc)
    assert wait_until(lambda: site.open_transactions() == 0, timeout=PATIENCE)
    if said:
        assert "was rolled back" in said
    assert site.names() == ([] if said else ["kept"])


def test_a_write_that_was_cut_off_while_it_ran_is_done_exactly_once(site: Site) -> None:
    # The server cancels it, knows that it had no effect, and so it is sent again.
    with meanwhile(site.relay.cut, when=lambda: site.runs("pg_sleep")):
        with connections[TENANT].cursor() as cursor:
            cursor.execute(SLOW_INSERT, ["once", 0.5])
            assert cursor.rowcount == 1
    assert wait_until(lambda: not site.runs("pg_sleep"), timeout=PATIENCE)
    assert site.names() == ["once"]


def test_a_transaction_that_is_cut_off_is_rolled_back_at_once(site: Site) -> None:
    with lost(ShardUnavailable, site), transaction.atomic(using=TENANT):
        add("lost")
        site.relay.cut()
        assert wait_until(lambda: site.open_transactions() == 0, timeout=PATIENCE)
        add("lost too")
    with transaction.atomic(using=TENANT):
        add("kept")
    assert site.names() == ["kept"]


def cut_by_network(site: Site) -> None:
    site.relay.cut()


def cut_by_backend(site: Site) -> None:
    site.ask(
        """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                WHERE query LIKE %s AND pid <> pg_backend_pid()""",
        "SELECT repeat(%",
    )


def cut_by_interrupt(site: Site) -> None:
    signal.raise_signal(signal.SIGINT)


@pytest.mark.parametrize(
    ("cut", "failure"),
    [
        (cut_by_network, pytest.raises(ShardUnavailable, match="cut off")),
        (cut_by_backend, pytest.raises((AdminShutdown, OutcomeUnknown))),
        (cut_by_interrupt, pytest.raises(KeyboardInterrupt)),
    ],
)
def test_a_result_that_is_cut_off_in_the_middle_says_so(
    site: Site, cut: Callable[[Site], None], failure: contextlib.AbstractContextManager[Any]
) -> None:
    row = "x" * 100
    with failure, connections[TENANT].cursor() as cursor:
        rows = cursor.stream("SELECT repeat('x', 100) FROM generate_series(1, 3000000)")
        assert next(rows)[0] == row
        cut(site)
        # Not even the last row before the cut may hold anything else.
        assert all(text == row for (text,) in rows)
    # As after any lost connection; Django does it between two requests.
    connections[TENANT].close()
    add("later")


@pytest.mark.parametrize("cut", [cut_by_network, cut_by_backend])
def test_nothing_is_put_behind_a_part_of_an_answer(site: Site, cut: Callable[[Site], None]) -> None:
    # It would become the rest of the row in which that part may have ended.
    exchange = Exchange(TenantLocator(TENANT, ""), (), connect_timeout=PATIENCE)
    statement = compose(b"Q", b"SELECT repeat('x', 100) FROM generate_series(1, 3000000)\0")
    rest = exchange.submit(statement)
    cut(site)
    with pytest.raises(ExchangeFailed) as failed:
        while exchange.inflight:
            rest += exchange.receive()
            rest = rest[whole_messages(rest) :]
    assert failed.value.broken
    if failed.value.answer:
        # What PostgreSQL itself said, which it does not in the middle of a row.
        assert cut is cut_by_backend
        assert rest == b""
        assert b"\0C57P01\0" in failed.value.answer
    assert exchange.idle


def test_nothing_is_put_behind_a_part_of_an_answer_by_an_interrupt(site: Site) -> None:
    exchange = Exchange(TenantLocator(TENANT, ""), (), connect_timeout=PATIENCE)
    exchange.submit(compose(b"Q", b"SELECT repeat('x', 100) FROM generate_series(1, 3000000)\0"))
    failed = exchange.interrupt()
    assert failed.broken
    assert failed.answer == b""
    assert exchange.idle


@pytest.mark.parametrize("statement", [COPY_IN, COPY_OUT])
def test_a_copy_that_is_cut_off_in_the_middle_says_so_and_leaves_nothing(
    site: Site, statement: str
) -> None:
    with (
        pytest.raises(ShardUnavailable),
        connections[TENANT].cursor() as cursor,
        cursor.copy(statement) as copy,
    ):
        if statement == COPY_OUT:
            assert copy.read()
            site.relay.cut()
            while copy.read():
                pass
        for number in range(1_000_000):
            copy.write_row([f"group-{number}"])
            if number == 500_000:
                site.relay.cut()
    assert site.ask(f'SELECT count(*) FROM "{site.schema}".auth_group') == [(0,)]
    connections[TENANT].close()
    add("later")


def test_a_line_that_was_cut_while_nothing_ran_is_not_noticed(site: Site) -> None:
    add("before")
    site.relay.cut()
    add("after")
    assert site.names() == ["after", "before"]


# PostgreSQL that is stopped


@pytest.mark.usefixtures("patient_again")
def test_a_stopped_postgresql_is_named_and_works_again_once_it_is_started(site: Site) -> None:
    impatient(1.0)
    add("before")
    site.postgres.stop()
    for _ in range(2):
        started = time.monotonic()
        with unavailable(site):
            User.objects.mtdd(TENANT).count()
        assert time.monotonic() - started < 3.0
    site.postgres.start()
    site.postgres.wait_ready()
    impatient(5.0)
    assert User.objects.mtdd(TENANT).count() == 1


def test_a_postgresql_restarted_while_the_client_was_idle_is_not_noticed(site: Site) -> None:
    add("before")
    site.postgres.stop()
    site.postgres.start()
    site.postgres.wait_ready()
    add("after")
    assert site.names() == ["after", "before"]


def test_a_transaction_whose_postgresql_stops_is_lost_and_the_next_one_works(site: Site) -> None:
    with pytest.raises(OperationalError), transaction.atomic(using=TENANT):
        add("lost")
        site.postgres.stop()
        site.postgres.start()
        site.postgres.wait_ready()
        add("lost too")
    with transaction.atomic(using=TENANT):
        add("kept")
    assert site.names() == ["kept"]


# A shard server that is asked to end


@pytest.mark.usefixtures("patient_again")
def test_a_draining_server_lets_a_transaction_finish_and_refuses_new_ones(site: Site) -> None:
    process = site.server.process
    assert process is not None

    def query() -> None:
        try:
            impatient(0.5)
            with unavailable(site):
                User.objects.mtdd(TENANT).count()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as others:
        # A session that idles in the client's pool is refused as well as a new one.
        others.submit(add, "before").result()
        with transaction.atomic(using=TENANT):
            add("first")
            process.send_signal(signal.SIGTERM)
            time.sleep(0.3)
            others.submit(query).result()
            add("second")
            assert process.poll() is None
        committed = time.monotonic()
        assert process.wait(PATIENCE) == 0
        # It did not wait for its limit.
        assert time.monotonic() - committed < 2.0
    assert site.names() == ["before", "first", "second"]


def test_a_statement_waits_while_a_server_is_replaced(site: Site) -> None:
    add("before")
    process = site.server.process
    assert process is not None

    def replace() -> None:
        process.send_signal(signal.SIGTERM)
        process.wait(PATIENCE)
        site.start()

    with meanwhile(replace, when=lambda: True):
        time.sleep(0.05)
        for number in range(20):
            add(f"during-{number}")
            time.sleep(0.05)
    assert len(site.names()) == 21


def test_a_transaction_that_outlasts_the_drain_is_rolled_back(site: Site) -> None:
    process = site.server.process
    assert process is not None
    with lost(ShardUnavailable, site), transaction.atomic(using=TENANT):
        add("lost")
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
        add("lost too")
    assert site.open_transactions() == 0
    assert site.names() == []


# Clients


def test_the_transaction_of_a_killed_client_is_rolled_back(
    site: Site, start_program: Callable[..., "subprocess.Popen[str]"]
) -> None:
    client = start_program("open_transaction", TENANT)
    assert client.stdout is not None
    assert client.stdout.readline() == "open\n"
    assert site.open_transactions() == 1
    client.kill()
    client.wait()
    assert wait_until(lambda: site.open_transactions() == 0, timeout=5.0)
    # Its connection is clean, and serves others.
    add("other")
    assert site.names() == ["other"]


def test_forked_workers_and_their_parent_all_go_on_working(
    site: Site, start_program: Callable[..., "subprocess.Popen[str]"]
) -> None:
    client = start_program("prefork", TENANT)
    output, _ = client.communicate(timeout=60)
    assert client.returncode == 0, output
    assert output.splitlines()[-1] == "[0, 0, 0, 0]"
    # The parent and three children, each from its first thread and four others.
    assert len(site.names()) == 1 + 10 + 4 * 5 * 10


def test_a_pool_of_threads_shares_sessions_and_loses_nothing(site: Site) -> None:
    def work(worker: int) -> None:
        try:
            for number in range(12):
                name = f"user-{worker}-{number}"
                with transaction.atomic(using=TENANT):
                    add(name)
                    assert User.objects.mtdd(TENANT).get(username=name).pk
        finally:
            connections.close_all()

    with ThreadPoolExecutor(16) as pool:
        list(pool.map(work, range(16)))
    assert len(site.names()) == 16 * 12
    assert site.open_transactions() == 0


@pytest.mark.parametrize("mode", ["autocommit", "transaction"])
def test_ctrl_c_in_a_long_query_cancels_it_and_leaves_the_connection_usable(
    site: Site, start_program: Callable[..., "subprocess.Popen[str]"], mode: str
) -> None:
    client = start_program("interrupted", TENANT, mode)
    assert client.stdout is not None
    assert client.stdout.readline() == "sleeping\n"
    assert wait_until(lambda: site.runs("pg_sleep"), timeout=PATIENCE)
    os.kill(client.pid, signal.SIGINT)
    output, _ = client.communicate(timeout=PATIENCE)
    assert output == "interrupted\nusable\n", output
    assert client.returncode == 0
    assert wait_until(lambda: not site.runs("pg_sleep"), timeout=5.0)
