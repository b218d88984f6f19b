"""Tasks of Celery, with a broker of files and real workers, in the tenants that published them."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import chain, chord, group, signals
from celery.app.trace import build_tracer
from celery.beat import Scheduler
from django.contrib.auth.models import Group
from django.db import connections

from mtdd_router import current_tenant, tenant_context, tenant_lock
from mtdd_router.context import locked_tenant
from mtdd_router.contrib.celery import HEADER, every_tenant, headers
from mtdd_router.contrib.celery.tasks import for_each_tenant

ROOT = Path(__file__).resolve().parents[3]
PATIENCE = 60.0


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("celery")


@pytest.fixture(scope="module")
def tasks(folder: Path) -> Iterator[Any]:
    """The project's tasks, as what publishes knows them."""
    os.environ["MTDD_TEST_CELERY_FOLDER"] = str(folder)
    from tests.programs import celery_app

    headers.watch()
    yield celery_app
    celery_app.app.close()
    del os.environ["MTDD_TEST_CELERY_FOLDER"]


def environment() -> dict[str, str]:
    """Return the environment of the project's programs."""
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "celery_settings",
        "MTDD_TEST_REGISTRY_NAME": str(connections["default"].settings_dict["NAME"]),
        "PYTHONPATH": os.pathsep.join((str(ROOT), str(ROOT / "tests" / "programs"))),
        "C_FORCE_ROOT": "1",
        # Django's, which take longer than all else.
        "CELERY_SKIP_CHECKS": "1",
    }


@pytest.fixture(scope="module", params=["prefork", "threads"])
def worker(
    request: pytest.FixtureRequest, tasks: Any, folder: Path, django_db_setup: None
) -> Iterator[None]:
    """A worker that does one task after the other in one process or thread."""
    log = folder / f"{request.param}.log"
    options = f"--pool={request.param} --concurrency=1 --without-mingle --without-gossip"
    command = [sys.executable, "-m", "celery", "-A", "tests.programs.celery_app", "worker"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, *options.split(), "--without-heartbeat", "--loglevel=INFO"],
            env=environment(),
            cwd=ROOT,
            stdout=output,
            stderr=output,
        )
    try:
        wait_until_ready(process, log)
        yield
    finally:
        process.terminate()
        try:
            process.wait(PATIENCE)
        finally:
            process.kill()


def wait_until_ready(process: "subprocess.Popen[bytes]", log: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while " ready." not in log.read_text():
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)


def got(result: Any) -> Any:
    return result.get(timeout=PATIENCE, interval=0.02)


def in_tenant(name: str | None) -> Any:
    return tenant_context(name) if name else nullcontext()


def is_clean(tasks: Any) -> bool:
    """Whether the next task, in the same process and thread, finds nothing of the last one."""
    tenant, _, _, aliases = got(tasks.place.delay())
    return bool(tenant is None and aliases == ["default"])


@pytest.mark.usefixtures("worker", "two_tenants")
class TestWorker:
    def test_a_task_runs_in_the_tenant_that_published_it_and_leaves_nothing(
        self, tasks: Any
    ) -> None:
        for name in ("abc", "xyz", None, "abc"):
            with in_tenant(name):
                result = tasks.whose.delay()
            assert got(result) == [name, name]
            assert is_clean(tasks)

    def test_a_task_that_fails_or_forgets_leaves_nothing(self, tasks: Any) -> None:
        with tenant_context("abc"):
            failed, forgotten = tasks.fails.delay(), tasks.forgets.delay()
        with pytest.raises(ZeroDivisionError):
            got(failed)
        got(forgotten)
        assert is_clean(tasks)
        assert got(tasks.whose.delay()) == [None, None]
        assert not Group.objects.using("abc").exists()

    def test_a_retry_runs_where_the_first_try_did(self, tasks: Any) -> None:
        with tenant_context("abc"):
            results = [tasks.retried.delay(), tasks.retried_by_itself.delay()]
        assert [got(result) for result in results] == [["abc", "abc"]] * 2
        assert is_clean(tasks)

    def test_what_a_task_publishes_follows_it(self, tasks: Any) -> None:
        with tenant_context("xyz"):
            result = tasks.publishes.delay()
        assert got(tasks.app.AsyncResult(got(result))) == ["xyz", "xyz"]

    def test_chains_groups_and_chords_stay_in_their_tenant(self, tasks: Any) -> None:
        whose = tasks.whose
        with tenant_context("abc"):
            chained = chain(whose.s(), whose.s(), whose.s()).delay()
            grouped = group(whose.s() for _ in range(3)).delay()
            united = chord([whose.s(), chain(whose.s(), whose.s())], tasks.whose_of_all.s()).delay()
            linked = whose.apply_async(link=tasks.stamps.si("linked"))
            erred = tasks.fails.apply_async(link_error=tasks.stamps.si("erred"))
        assert got(chained) == ["abc"] * 6
        assert got(grouped) == [["abc"] * 2] * 3
        assert got(united) == ["abc"] * 8
        assert got(linked) == ["abc"] * 2
        with pytest.raises(ZeroDivisionError):
            got(erred)
        # The two callbacks have been published before this.
        assert is_clean(tasks)
        names = Group.objects.using("abc").values_list("name", flat=True)
        assert sorted(names) == ["erred", "linked"]
        assert not Group.objects.exists()

    def test_a_header_that_names_no_tenant_lets_the_task_query_none(self, tasks: Any) -> None:
        for wrong in ("Not A Name", "default", 3):
            result = tasks.whose.apply_async(headers={HEADER: wrong})
            with pytest.raises(Exception, match="header of this task's message is wrong"):
                got(result)
            assert is_clean(tasks)

    def test_a_task_published_by_locked_work_is_its_tenants(self, tasks: Any) -> None:
        with tenant_lock("abc"):
            result = tasks.whose.apply_async(headers={HEADER: "xyz"})
        assert got(result) == ["abc", "abc"]

    def test_a_periodic_task_becomes_one_for_each_tenant(self, tasks: Any) -> None:
        entry = every_tenant("tests.programs.celery_app.stamps", timedelta(days=1), args=["daily"])
        # What beat does with an entry.
        result = tasks.app.send_task(entry["task"], kwargs=entry["kwargs"])
        assert got(result) == 2
        assert is_clean(tasks)
        for name in ("abc", "xyz"):
            assert Group.objects.using(name).get().name == "daily"
        assert not Group.objects.exists()


@pytest.mark.usefixtures("two_tenants")
def test_a_process_of_a_pool_leaves_inherited_connections_to_its_parent(folder: Path) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-W", "ignore:This process:DeprecationWarning"),
            *(str(ROOT / "tests" / "programs" / "forked_worker.py"), "abc", "xyz"),
        ],
        env={**environment(), "MTDD_TEST_CELERY_FOLDER": str(folder)},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    child, parent = map(json.loads, done.stdout.splitlines())
    rows = ["of-abc", "of-xyz"]
    assert child == {"wrong": [], "left": [], "found": [rows, rows]}
    assert parent == {"found": rows}


@pytest.mark.usefixtures("two_tenants")
def test_a_task_leaves_its_tenant_when_it_ends_however_it_does(tasks: Any) -> None:
    def run(task: Any, **headers: Any) -> Any:
        request = {"id": "1", "delivery_info": {}, "ignore_result": True, **headers}
        return build_tracer(task.name, task, app=tasks.app)("1", (), {}, request)

    with tenant_lock("xyz"):
        # What runs in the worker's process beside tasks is not concerned by them.
        for task in (tasks.whose, tasks.fails, tasks.forgets):
            run(task, **{HEADER: "abc"})
            assert current_tenant() == "xyz"
        run(tasks.fails, **{HEADER: "Not A Name"})
        assert current_tenant() == locked_tenant() == "xyz"
    connections.close_all()


@pytest.mark.usefixtures("two_tenants")
def test_beat_publishes_one_message_for_all_tenants(tasks: Any) -> None:
    app = tasks.app
    entry = every_tenant("tests.programs.celery_app.stamps", timedelta(milliseconds=1), args=["x"])
    published: list[str] = []

    def note(sender: str, **_: Any) -> None:
        published.append(sender)

    signals.before_task_publish.connect(note)
    app.conf.beat_schedule = {"daily": entry}
    try:
        scheduler = Scheduler(app)
        time.sleep(0.01)
        while not published:
            scheduler.tick()
        assert published == [entry["task"]]
        # What a worker does with it.
        assert for_each_tenant(**entry["kwargs"]) == 2
        assert published[1:] == ["tests.programs.celery_app.stamps"] * 2
    finally:
        signals.before_task_publish.disconnect(note)
        app.conf.beat_schedule = {}
        app.control.purge()


@pytest.mark.usefixtures("two_tenants")
def test_an_eager_task_is_part_of_the_work_that_calls_it(
    tasks: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(tasks.app.conf, "task_always_eager", True)
    with tenant_context("abc"):
        assert tasks.whose.delay().get() == ["abc", "abc"]
        assert tasks.whose.apply().get() == ["abc", "abc"]
        with tenant_context("xyz"):
            assert chain(tasks.whose.s(), tasks.whose.s()).delay().get() == ["xyz"] * 4
    assert tasks.whose.delay().get() == [None, None]
