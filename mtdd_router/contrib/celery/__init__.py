"""Tasks of Celery run in the tenant in which they were published.

Add ``"mtdd_router.contrib.celery"`` to INSTALLED_APPS, in what publishes and in the workers;
tasks stay as they are. For a periodic task of every tenant there is `every_tenant`.
"""

from mtdd_router.contrib.celery.beat import every_tenant
from mtdd_router.contrib.celery.headers import HEADER

__all__ = ["HEADER", "every_tenant"]
