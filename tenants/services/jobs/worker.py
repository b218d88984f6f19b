"""Doing jobs, one after another.

Any number of workers may run, on any machines: each job is done by one of them. A worker
that is asked to stop by a KeyboardInterrupt lets the operation at hand undo or end itself.
"""

import logging
import time
from collections.abc import Callable
from typing import Final

from django.db import Error as DatabaseError
from django.db import close_old_connections, reset_queries

from mtdd_router.errors import MTDDError
from tenants.models import Job
from tenants.services.audit import acting
from tenants.services.jobs.kinds import perform
from tenants.services.jobs.queue import claimed, end, note_interrupted, waiting_jobs
from tenants.services.notifying import collected_failures

__all__ = ["do_job", "do_jobs", "do_waiting_jobs"]

logger = logging.getLogger("tenants.jobs")

_LOOK_EVERY: Final = 1.0
_AFTER_FAILURE: Final = 5.0
_LOOK_FOR_THE_DEAD_EVERY: Final = 10.0
_AT_A_TIME: Final = 20

OnJob = Callable[[Job], None]


def do_job(number: int, on_end: OnJob = lambda _: None) -> bool:
    """Do the job of that number if it waits; return whether it was done here.

    How it went stands in the job afterwards; *on_end* is given it.

    Raises:
        KeyboardInterrupt: after the operation has undone or ended itself.
        MTDDError, django.db.Error: if the registry's database fails; then the job's state
            says so later, see `note_interrupted`.
    """
    with claimed(number) as job:
        if job is None:
            return False
        logger.info("Job %s begins.", job)
        with (
            acting(f"{job.requested_by or 'somebody'} (job #{job.pk})"),
            collected_failures() as warnings,
        ):
            state, result, error = _attempt(job)
        if not end(job, state, result=result, error=error, warnings=warnings):
            logger.warning("Job %s was taken for dead meanwhile; it is %s.", job, state)
    job.refresh_from_db()
    logger.info("Job %s is %s.", job, job.state)
    on_end(job)
    if state is Job.State.INTERRUPTED:
        raise KeyboardInterrupt
    return True


def do_waiting_jobs(
    on_end: OnJob = lambda _: None, *, asked_to_stop: Callable[[], bool] = lambda: False
) -> int:
    """Do the jobs that wait, until none does or *asked_to_stop*; return how many were done here.

    Raises: as `do_job`.
    """
    note_interrupted()
    count, done = 0, True
    while done:
        done = False
        for number in list(waiting_jobs().values_list("pk", flat=True)[:_AT_A_TIME]):
            # Those that are not done here are others' at this moment.
            if not asked_to_stop() and do_job(number, on_end):
                done = True
                count += 1
    return count


def do_jobs(
    on_end: OnJob = lambda _: None, *, asked_to_stop: Callable[[], bool] = lambda: False
) -> None:
    """Do jobs as they come, until *asked_to_stop* says so; a registry that is down is waited for.

    Raises:
        KeyboardInterrupt: if that interrupted it.
    """
    looked = float("-inf")
    # An interrupted operation that could not undo itself ends as one that failed.
    while not asked_to_stop():
        try:
            if time.monotonic() - looked >= _LOOK_FOR_THE_DEAD_EVERY:
                note_interrupted()
                looked = time.monotonic()
            job = waiting_jobs().values_list("pk", flat=True).first()
            busy = job is not None and do_job(job, on_end)
        except (DatabaseError, MTDDError) as exc:
            logger.warning("The registry cannot be used, and is waited for: %s", exc)
            if not asked_to_stop():
                time.sleep(_AFTER_FAILURE)
            busy = True
        finally:
            # As at the end of a request.
            reset_queries()
            close_old_connections()
        if not busy:
            time.sleep(_LOOK_EVERY)


def _attempt(job: Job) -> tuple[Job.State, str, str]:
    """Do *job*; return the state it is in then, its result and its error."""
    try:
        return Job.State.DONE, perform(job), ""
    except KeyboardInterrupt:
        return (
            Job.State.INTERRUPTED,
            "",
            "The worker that did it was stopped. Retry the job: it goes on from what is there.",
        )
    except (MTDDError, DatabaseError) as exc:
        return Job.State.FAILED, "", str(exc).strip()
    # A mistake in a migration, or here, must end neither the worker nor its other jobs.
    except Exception as exc:
        logger.exception("Job %s failed in a way that nobody foresaw.", job)
        return Job.State.FAILED, "", f"{type(exc).__name__}: {exc}. The worker's log has more."
