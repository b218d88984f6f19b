"""The Django app that connects Celery's signals."""

from django.apps import AppConfig

__all__ = ["MTDDCeleryConfig"]


class MTDDCeleryConfig(AppConfig):
    """The tenants of Celery's tasks."""

    name = "mtdd_router.contrib.celery"
    label = "mtdd_celery"
    verbose_name = "MTDD tasks of Celery"

    def ready(self) -> None:
        # Imported late: Celery is optional.
        from mtdd_router.contrib.celery import headers

        headers.watch()
