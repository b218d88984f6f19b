"""Django settings of a candidate: plain Django (``direct``) or the project (``grpc``).

The orchestrator says where through MTDD_BENCH_DSN (direct: the tenant's database;
grpc: the registry) and MTDD_BENCH_SCHEMA (direct only). Direct is Django as it comes:
nothing of the project is installed there.
"""

import os

from mtdd_router import databases
from settings.base import *
from settings.environment import as_database

SECRET_KEY = "only-for-a-benchmark"
DEBUG = False
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

_default = as_database(os.environ["MTDD_BENCH_DSN"]) | {"CONN_MAX_AGE": None}

if os.environ["MTDD_BENCH_CANDIDATE"] == "direct":
    _default["OPTIONS"] = {"options": f"-c search_path={os.environ['MTDD_BENCH_SCHEMA']}"}
    INSTALLED_APPS = TENANT_APPS
    DATABASE_ROUTERS = []
    DATABASES = {"default": _default}
else:
    DATABASES = databases({"default": _default}, tenant={"CONN_MAX_AGE": None})
