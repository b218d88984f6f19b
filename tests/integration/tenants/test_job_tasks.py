"""Jobs in the hands of a project's own workers, with Django's tasks framework."""

import threading

import django
import pytest
from django.db import connections

from tenants import services
from tenants.errors import JobError
from tenants.models import Job
from tests.integration.tenants.conftest import names

pytestmark = pytest.mark.skipif(django.VERSION < (6, 0), reason="Django 6.0 has tasks first")

if django.VERSION >= (6, 0):
    from django.tasks.backends.base import BaseTaskBackend

    class Elsewhere(BaseTaskBackend):
        """Does each task in a thread, by its name and arguments alone, as another process."""

        threads: list[threading.Thread] = []

        def enqueue(self, task, args, kwargs):
            def work():
                from django.utils.module_loading import import_string

                try:
                    import_string(task.module_path).func(*args, **kwargs)
                finally:
                    connections.close_all()

            thread = threading.Thread(target=work)
            self.threads.append(thread)
            thread.start()

    class Broken(BaseTaskBackend):
        """Its broker does not answer."""

        def enqueue(self, task, args, kwargs):
            raise ConnectionError("no broker")


def tasks(settings, backend):
    path = backend if "." in backend else f"{__name__}.{backend}"
    settings.TASKS = {"default": {"BACKEND": path}}


def test_a_job_is_done_by_the_projects_own_workers(registered_shards, settings):
    tasks(settings, "Elsewhere")
    job = services.request_creation("abc")
    for thread in Elsewhere.threads:
        thread.join()
    job.refresh_from_db()
    assert (job.state, job.attempts) == ("done", 1)
    assert names() == {"abc"}
    assert services.do_waiting_jobs() == 0


@pytest.mark.parametrize("kind", ["immediate.ImmediateBackend", "dummy.DummyBackend"])
def test_a_backend_that_runs_nothing_elsewhere_is_left_alone(registered_shards, settings, kind):
    tasks(settings, f"django.tasks.backends.{kind}")
    job = services.request_creation("abc")
    assert (job.state, names()) == ("queued", set())
    assert services.do_waiting_jobs() == 1


def test_a_backend_that_is_down_fails_the_job_which_says_so_and_is_retried(
    registered_shards, settings
):
    tasks(settings, "Broken")
    with pytest.raises(JobError, match="no broker"):
        services.request_creation("abc")
    job = Job.objects.get()
    assert job.state == "failed"
    assert "no broker" in job.error
    settings.MTDD_TASK_BACKEND = ""
    services.retry_job(job)
    assert services.do_waiting_jobs() == 1
    assert names() == {"abc"}
