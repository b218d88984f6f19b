"""A Celery project whose broker and results are folders: a worker's and its clients'."""

import os
import threading
from pathlib import Path

from celery import Celery, shared_task
from kombu.transport import TRANSPORT_ALIASES

folder = Path(os.environ["MTDD_TEST_CELERY_FOLDER"])
queue = folder / "queue"
for each in (queue, folder / "results", folder / "control"):
    each.mkdir(exist_ok=True)

TRANSPORT_ALIASES["folder"] = "tests.programs.folder_transport:Transport"
app = Celery("tests")
app.conf.update(
    broker_url="folder://",
    broker_transport_options={
        "data_folder_in": str(queue),
        "data_folder_out": str(queue),
        "control_folder": str(folder / "control"),
        "polling_interval": 0.02,
    },
    broker_connection_retry_on_startup=False,
    result_backend=f"file://{folder / 'results'}",
    result_chord_retry_interval=0.1,
    task_default_queue="tests",
    worker_hijack_root_logger=False,
)
app.set_default()
app.autodiscover_tasks(["mtdd_router.contrib.celery"])


@shared_task
def whose(*results: object) -> list[object]:
    """Return the context's tenant, and the one whose rows are there, after earlier results."""
    from django.contrib.auth.models import User

    from mtdd_router import current_tenant

    found = User.objects.filter(id=1).values_list("username", flat=True).first()
    earlier = [item for result in results for item in (result if isinstance(result, list) else [])]
    return [*earlier, current_tenant(), found and found.removeprefix("of-")]


@shared_task
def whose_of_all(results: list[list[object]]) -> list[object]:
    """Return what all of a group returned, and what is found here."""
    return [item for result in results for item in result] + whose()


@shared_task
def place() -> list[object]:
    """Return what this worker's process still has of earlier tasks, and where it is."""
    from django.db import connections

    from mtdd_router import current_tenant

    return [current_tenant(), os.getpid(), threading.get_ident(), sorted(connections)]


@shared_task
def fails() -> None:
    """Fail, in the middle of a transaction."""
    from django.contrib.auth.models import Group
    from django.db import transaction

    from mtdd_router import current_tenant

    with transaction.atomic(using=current_tenant()):
        Group.objects.create(name="lost")
        raise ZeroDivisionError


@shared_task
def forgets() -> None:
    """Enter another tenant, and end without leaving it."""
    from mtdd_router import tenant_context

    tenant_context("xyz").__enter__()


@shared_task(bind=True, max_retries=2, default_retry_delay=0)
def retried(self: object) -> list[object]:
    """Fail twice, and then return what was found each time."""
    if self.request.retries < 2:  # type: ignore[attr-defined]
        raise self.retry()  # type: ignore[attr-defined]
    return whose()


@shared_task(autoretry_for=(ZeroDivisionError,), max_retries=1, default_retry_delay=0, bind=True)
def retried_by_itself(self: object) -> list[object]:
    """Fail once, and then return what was found."""
    if not self.request.retries:  # type: ignore[attr-defined]
        raise ZeroDivisionError
    return whose()


@shared_task
def publishes() -> str:
    """Publish another task, and return its id."""
    return str(whose.delay().id)


@shared_task
def stamps(name: str) -> None:
    """Write a row into the tenant."""
    from django.contrib.auth.models import Group

    Group.objects.create(name=name)
