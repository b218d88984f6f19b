"""Settings of the test suite.

The registry's port is chosen here, before any test asks for a database, because
Django reads its settings first; ``tests/conftest.py`` then starts PostgreSQL there.
Children of the tests get the same choice through the environment; each process that
runs tests at the same time has one of its own.
"""

import os

from mtdd_router import databases
from mtdd_router.embedded.ports import choose_port
from settings.base import *

SECRET_KEY = "not-a-secret-in-tests"
ALLOWED_HOSTS = ["*"]
# Tests give names away that were a tenant's a moment ago; those of this rule set it.
MTDD_NAME_REST = 0.0
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

_PORT = "_".join(filter(None, ["MTDD_TEST_REGISTRY_PORT", os.environ.get("PYTEST_XDIST_WORKER")]))
TEST_REGISTRY_PORT = int(os.environ.setdefault(_PORT, str(choose_port())))
TEST_REGISTRY_PASSWORD = os.environ.setdefault("MTDD_TEST_REGISTRY_PASSWORD", "test")

DATABASES = databases(
    {
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": "mtdd",
            "USER": "mtdd_registry",
            "PASSWORD": TEST_REGISTRY_PASSWORD,
            "HOST": "127.0.0.1",
            "PORT": str(TEST_REGISTRY_PORT),
        }
    }
)
