"""Settings of programs that the tests start: the tests' own, on the tests' registry."""

import os

from mtdd_router import databases
from settings.test import *

# The development server serves the admin's style sheets only with it.
DEBUG = True

DATABASES = databases(
    {"default": {**DATABASES["default"], "NAME": os.environ["MTDD_TEST_REGISTRY_NAME"]}}
)

MTDD_ARCHIVE_ROOT = os.environ.get("MTDD_TEST_ARCHIVE_ROOT")
