"""Settings for development, on the stack that ``manage.py mtdd_up`` runs.

The database's port and password are those of the stack in ``.mtdd``; the variable
MTDD_STACK_DIR names another folder.
"""

import os
from pathlib import Path

from mtdd_router import databases
from mtdd_router.embedded import registry_dsn
from settings.base import *
from settings.environment import as_database

MTDD_STACK_DIR = Path(os.environ.get("MTDD_STACK_DIR") or BASE_DIR / ".mtdd")

DEBUG = True
SECRET_KEY = "only-for-development-on-this-machine"
ALLOWED_HOSTS = ["localhost", "127.0.0.1", "[::1]", ".localhost", "testserver"]

DATABASES = databases({"default": as_database(registry_dsn(MTDD_STACK_DIR))})

# Where the stack's worker puts the archives that the admin asks for.
MTDD_ARCHIVE_ROOT = MTDD_STACK_DIR.absolute() / "archives"
