"""Django settings of a candidate, which reads what it is in the file MTDD_BENCH_CANDIDATE.

Direct is Django as it comes: nothing of the project is installed there. django-tenants is
given its own backend, and reads the schemas that are there already.
"""

import json
import os
from pathlib import Path

from settings.base import *
from settings.environment import as_database

CANDIDATE = json.loads(Path(os.environ["MTDD_BENCH_CANDIDATE"]).read_text())

SECRET_KEY = "only-for-a-benchmark"
DEBUG = False
# Each round makes the same tenants anew.
MTDD_NAME_REST = 0.0
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]

_kept = {"CONN_MAX_AGE": None, "DISABLE_SERVER_SIDE_CURSORS": CANDIDATE["kind"] == "pgbouncer"}
_default = as_database(CANDIDATE["dsn"]) | _kept

if CANDIDATE["kind"] == "django-mtdd":
    from mtdd_router import databases

    # What direct has, and what is ours.
    INSTALLED_APPS = ["mtdd_router", "tenants", *TENANT_APPS]
    SHARED_APPS = [app for app in INSTALLED_APPS if app in SHARED_APPS]
    DATABASES = databases({"default": _default}, tenant={"CONN_MAX_AGE": None})
    if kept := CANDIDATE["keeps"]:
        MTDD_KEPT_CONNECTIONS = kept
else:
    INSTALLED_APPS = TENANT_APPS
    DATABASE_ROUTERS = []
    DATABASES = {"default": _default}
    if schema := CANDIDATE["schema"]:
        _default["OPTIONS"] = {"options": f"-c search_path={schema}"}
    for _alias, _dsn in CANDIDATE["databases"].items():
        DATABASES[_alias] = as_database(_dsn) | _kept

if CANDIDATE["kind"] == "django-tenants":
    _default["ENGINE"] = "django_tenants.postgresql_backend"
    INSTALLED_APPS = ["django_tenants", "benchmarks.schemas", *TENANT_APPS]
    SHARED_APPS = ["django_tenants", "benchmarks.schemas"]
    DATABASE_ROUTERS = ["django_tenants.routers.TenantSyncRouter"]
    TENANT_MODEL = "schemas.Client"
    TENANT_DOMAIN_MODEL = "schemas.Domain"
