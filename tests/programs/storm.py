"""Read and write many tenants' rows from threads and tasks at once, and keep a journal.

    storm.py JOURNAL NUMBER SECONDS THREADS TASKS TENANT...

Before a write the journal has ``begun KEY TENANT``, and afterwards what became of it:
``done``, ``undone`` (rolled back on purpose) or nothing, if that is not known. A line
``added TENANT`` is an addition to the tenant's counter, ``adding`` one that was begun;
``read TENANT`` is a read. Whatever must never happen is a line ``wrong``.
"""

import asyncio
import contextlib
import itertools
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator

import django

django.setup()

from asgiref.sync import ThreadSensitiveContext, sync_to_async  # noqa: E402 - after the setup
from django.db import DatabaseError, Error, connections, transaction  # noqa: E402
from django.db.models import F  # noqa: E402

from mtdd_router import tenant_context  # noqa: E402
from mtdd_router.context import current_tenant  # noqa: E402
from mtdd_router.directory import directory  # noqa: E402
from tests.apps.storm.models import Counter, Entry  # noqa: E402

ROWS = 10
ACTIONS_OF_A_REQUEST = 12
# How often the next work is another tenant's.
CHANGES = 0.15
# For so many seconds at most does a request wait for something else between two works.
IDLE = 2.0

path, number, seconds, threads, tasks, *tenants = sys.argv[1:]
journal = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
keys = itertools.count(int(number) << 32)
end = time.monotonic() + float(seconds)
written: dict[str, int] = {}


class Undone(Exception):
    """Leaves a transaction that shall not be kept."""


def note(*words: object) -> None:
    note_all([words])


def note_all(lines: Iterable[Iterable[object]]) -> None:
    # In one call, so that lines of several threads never mix.
    text = "".join(" ".join(map(str, words)) + "\n" for words in lines)
    os.write(journal, text.encode())


def require(tenant: str, entries: list[Entry]) -> None:
    note("read", tenant)
    for entry in entries:
        if entry.tenant != tenant or entry._state.db != tenant:
            note("wrong", f"row {entry} in {tenant}, from {entry._state.db}")


@contextlib.contextmanager
def begun(tenant: str, number: int = 1) -> Iterator[list[int]]:
    """Give keys for so many rows, which become done or undone together."""
    several = list(itertools.islice(keys, number))
    note_all(("begun", key, tenant) for key in several)
    try:
        yield several
    except Undone:
        note_all(("undone", key, tenant) for key in several)
    else:
        note_all(("done", key, tenant) for key in several)
        written[tenant] = several[-1]


def read(tenant: str) -> None:
    require(tenant, list(Entry.objects.mtdd(tenant).order_by("-id")[:ROWS]))


def read_in_context(tenant: str) -> None:
    with tenant_context(tenant):
        late = Entry.objects.filter(key__gte=0)[:ROWS]
    # Evaluated after the block, beside whatever else this thread does.
    require(tenant, list(late))


def read_back(tenant: str) -> None:
    """Read what this process was the last to write there."""
    if (key := written.get(tenant)) is not None:
        found = list(Entry.objects.mtdd(tenant).filter(key=key))
        require(tenant, found)
        if len(found) != 1:
            note("wrong", f"{len(found)} rows in {tenant} with the key {key}")


def where(tenant: str) -> None:
    with connections[tenant].cursor() as cursor:
        cursor.execute(
            "SELECT current_schema(), current_user, count(*) FILTER (WHERE tenant <> %s)"
            " FROM storm_entry",
            [tenant],
        )
        schema, role, strange = cursor.fetchone()
    note("read", tenant)
    if strange or schema != role or not schema.startswith(f"t_{tenant}_"):
        note("wrong", f"{tenant} is in {schema} as {role}, with {strange} rows of others")


def write(tenant: str) -> None:
    with begun(tenant) as (key,):
        Entry.objects.using(tenant).create(tenant=tenant, key=key)


def write_two(tenant: str) -> None:
    with begun(tenant, 2) as (one, two), transaction.atomic(using=tenant):
        Entry.objects.using(tenant).create(tenant=tenant, key=one)
        Entry.objects.using(tenant).create(tenant=tenant, key=two)


def write_many(tenant: str) -> None:
    with begun(tenant, 16) as several:
        Entry.objects.using(tenant).bulk_create([Entry(tenant=tenant, key=key) for key in several])


def write_and_undo(tenant: str) -> None:
    with begun(tenant) as (key,), transaction.atomic(using=tenant):
        Entry.objects.using(tenant).create(tenant=tenant, key=key)
        raise Undone


def fail_in_a_savepoint(tenant: str) -> None:
    with begun(tenant) as (kept,), transaction.atomic(using=tenant):
        Entry.objects.using(tenant).create(tenant=tenant, key=kept)
        with contextlib.suppress(DatabaseError), transaction.atomic(using=tenant):
            with connections[tenant].cursor() as cursor:
                cursor.execute("SELECT * FROM no_such_table")


def add(tenant: str) -> None:
    note("adding", tenant)
    Counter.objects.using(tenant).update(value=F("value") + 1)
    note("added", tenant)


def add_locked(tenant: str) -> None:
    note("adding", tenant)
    with transaction.atomic(using=tenant):
        counter = Counter.objects.using(tenant).select_for_update().get()
        counter.value += 1
        counter.save()
    note("added", tenant)
    if counter.tenant != tenant:
        note("wrong", f"counter {counter} in {tenant}")


def leave_a_mess(tenant: str) -> None:
    """Pin the session with what must not reach the next one, and go away."""
    with connections[tenant].cursor() as cursor:
        cursor.execute(
            random.choice(
                (
                    "SET statement_timeout = 1",
                    "SET default_transaction_read_only = on",
                    "CREATE TEMP TABLE storm_entry (tenant text, key bigint, id int)",
                    "SELECT pg_advisory_lock(1)",
                    "BEGIN; SAVEPOINT here",
                    "DECLARE here CURSOR WITH HOLD FOR SELECT * FROM storm_entry",
                    "PREPARE here AS SELECT * FROM storm_entry",
                )
            )
        )
    connections[tenant].close()


def be_cancelled(tenant: str) -> None:
    """Be cancelled while working, or a little later, when somebody else may be at work."""
    connection = connections[tenant]
    connection.ensure_connection()
    timer = threading.Timer(random.uniform(0, 0.01), connection.connection.cancel)
    timer.start()
    try:
        write(tenant)
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_sleep(%s)", [random.uniform(0, 0.01)])
    finally:
        timer.join()


WORKS: dict[Callable[[str], None], int] = {
    read: 15,
    read_back: 20,
    read_in_context: 10,
    where: 10,
    write: 20,
    write_two: 4,
    write_many: 8,
    write_and_undo: 4,
    fail_in_a_savepoint: 2,
    add: 6,
    add_locked: 3,
    leave_a_mess: 2,
    be_cancelled: 2,
}


def stroll() -> Iterator[str]:
    """Yield tenants without end, one often several times in a row."""
    while True:
        tenant = random.choice(tenants)
        yield tenant
        while random.random() > CHANGES:
            yield tenant


def work(tenant: str) -> None:
    (action,) = random.choices(list(WORKS), WORKS.values())
    try:
        action(tenant)
    except Error as exc:
        note("error", action.__name__, str(exc).replace("\n", " "))
    connections["default"].close()
    if (left := current_tenant()) is not None:
        note("wrong", f"tenant {left} stayed in the context after {action.__name__}")


def run_thread() -> None:
    try:
        for tenant in stroll():
            work(tenant)
            if time.monotonic() > end:
                break
    finally:
        connections.close_all()


async def aread(tenant: str) -> None:
    require(tenant, [entry async for entry in Entry.objects.using(tenant).order_by("-id")[:ROWS]])


async def awrite(tenant: str) -> None:
    with begun(tenant) as (key,):
        await Entry.objects.mtdd(tenant).acreate(tenant=tenant, key=key)


async def ahandle(tenant: str) -> None:
    """What a view does: the tenant is in the context, across threads and waiting."""
    with tenant_context(tenant):
        await asyncio.sleep(random.uniform(0, 0.002))
        with begun(tenant) as (key,):
            await sync_to_async(Entry.objects.create)(tenant=tenant, key=key)
        require(tenant, [entry async for entry in Entry.objects.order_by("-id")[:ROWS]])


async def awork(tenant: str) -> None:
    action = random.choice((aread, awrite, ahandle))
    try:
        limit = random.choice((None, None, None, random.uniform(0, 0.05)))
        await asyncio.wait_for(action(tenant), limit)
    except TimeoutError:
        note("error", action.__name__, "given up")
    except Error as exc:
        note("error", action.__name__, str(exc).replace("\n", " "))


async def run_task() -> None:
    while time.monotonic() < end:
        # As a request: threads of its own, which are closed with it.
        async with ThreadSensitiveContext():
            try:
                for tenant in itertools.islice(stroll(), ACTIONS_OF_A_REQUEST):
                    await awork(tenant)
                    await asyncio.sleep(random.uniform(0, IDLE))
            finally:
                await sync_to_async(connections.close_all)()


async def run_tasks() -> None:
    await asyncio.gather(*(run_task() for _ in range(int(tasks))))


# Nobody keeps a connection to the registry, which allows fewer than there are threads.
directory.preload()
connections.close_all()
everybody = [threading.Thread(target=run_thread) for _ in range(int(threads))]
for thread in everybody:
    thread.start()
asyncio.run(run_tasks())
for thread in everybody:
    thread.join()
