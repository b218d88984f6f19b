"""Settings of a worker of Celery: those of the tests' other programs, and its app."""

from project_settings import *

DEBUG = False
INSTALLED_APPS = [*INSTALLED_APPS, "mtdd_router.contrib.celery"]
