"""Settings for production, all from the environment; nothing has a secret default.

Required: DJANGO_SECRET_KEY, DJANGO_ALLOWED_HOSTS (words), MTDD_REGISTRY_DSN (the
registry's PostgreSQL), and either MTDD_SHARD_TOKEN (what shard servers ask for) or both of
MTDD_SHARD_CALLER and MTDD_SHARD_KEY_FILE (who signs tokens for them, with which key).
Optional: DJANGO_CSRF_TRUSTED_ORIGINS (words), DJANGO_STATIC_ROOT, DJANGO_HTTPS
(default 1), DJANGO_TRUST_PROXY (default 0: whether X-Forwarded-Proto is believed),
DJANGO_LOG_LEVEL (default INFO), DJANGO_CONN_MAX_AGE (seconds, default 60),
MTDD_ARCHIVE_ROOT (the folder for archives that are asked for in the admin).
"""

import os

from mtdd_router import databases
from settings.base import *
from settings.environment import Environment, as_bool, as_database, as_list

_environment = Environment(os.environ)

DEBUG = False
SECRET_KEY = _environment.required("DJANGO_SECRET_KEY", str)
ALLOWED_HOSTS = _environment.required("DJANGO_ALLOWED_HOSTS", as_list)
_caller = _environment.optional("MTDD_SHARD_CALLER", "", str)
if _caller:
    MTDD_SHARD_KEY = {
        "caller": _caller,
        "file": _environment.required("MTDD_SHARD_KEY_FILE", str),
    }
else:
    MTDD_SHARD_TOKEN = _environment.required("MTDD_SHARD_TOKEN", str)
_registry = _environment.required("MTDD_REGISTRY_DSN", as_database)

CSRF_TRUSTED_ORIGINS = _environment.optional("DJANGO_CSRF_TRUSTED_ORIGINS", [], as_list)
STATIC_ROOT = _environment.optional("DJANGO_STATIC_ROOT", None, str)
MTDD_ARCHIVE_ROOT = _environment.optional("MTDD_ARCHIVE_ROOT", None, str)
_https = _environment.optional("DJANGO_HTTPS", True, as_bool)
_proxy = _environment.optional("DJANGO_TRUST_PROXY", False, as_bool)
_log_level = _environment.optional("DJANGO_LOG_LEVEL", "INFO", str.upper)
_conn_max_age = _environment.optional("DJANGO_CONN_MAX_AGE", 60, int)

_environment.check()

DATABASES = databases(
    {"default": _registry | {"CONN_MAX_AGE": _conn_max_age, "CONN_HEALTH_CHECKS": True}}
)

SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_SSL_REDIRECT = _https
SECURE_HSTS_SECONDS = 31_536_000 if _https else 0
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if _proxy else None

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"plain": {"format": "%(asctime)s %(levelname)s %(name)s %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "plain"}},
    "root": {"handlers": ["console"], "level": _log_level},
}
