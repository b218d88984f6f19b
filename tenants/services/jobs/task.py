"""The task of Django's tasks framework that does a job; Django 6.0 has it first."""

from django.tasks import task

from mtdd_router.conf import mtdd_settings
from tenants.services.jobs.worker import do_job

__all__ = ["run_job"]


@task(backend=mtdd_settings.task_backend)
def run_job(job: int) -> None:
    """Do the job of that number, unless somebody else does or did."""
    do_job(job)
