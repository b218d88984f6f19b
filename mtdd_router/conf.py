"""The settings of django-mtdd, typed.

Invariants: a value is read from Django's settings when it is accessed, so that
``override_settings`` works; what has to be derived (app labels) is kept until a
setting changes. Nothing is validated here: `mtdd_router.checks` does that, and says
what to do.
"""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from django.apps import apps
from django.conf import settings as django_settings
from django.core.signals import setting_changed
from django.db import DEFAULT_DB_ALIAS

from mtdd_router.databases import BACKEND, Databases
from mtdd_router.errors import InvalidTenantName
from mtdd_router.types import validate_tenant_name

__all__ = ["MTDDSettings", "app_labels", "label_of", "mtdd_settings"]

DEFAULT_REGISTRY: Final = "tenants.registry.DatabaseRegistry"


T = TypeVar("T")


def _get(name: str, default: T) -> T:
    return cast(T, getattr(django_settings, name, default))


def _databases() -> object:
    return django_settings.DATABASES


class MTDDSettings:
    """What the project's settings say about tenants."""

    __slots__ = ("_shared", "_tenant")

    def __init__(self) -> None:
        self._tenant: frozenset[str] | None = None
        self._shared: frozenset[str] | None = None

    def forget(self) -> None:
        """Derive everything anew at the next access."""
        self._tenant = self._shared = None

    @property
    def tenant_apps(self) -> frozenset[str]:
        """The labels of the apps whose tables live on the shards (TENANT_APPS)."""
        if self._tenant is None:
            self._tenant = app_labels(getattr(django_settings, "TENANT_APPS", ()))
        return self._tenant

    @property
    def shared_apps(self) -> frozenset[str]:
        """The labels of the apps named as shared (SHARED_APPS)."""
        if self._shared is None:
            self._shared = app_labels(getattr(django_settings, "SHARED_APPS", ()))
        return self._shared

    def is_tenant_app(self, app_label: str) -> bool:
        """Return whether the app's tables live on the shards."""
        return app_label in self.tenant_apps

    def is_shared_app(self, app_label: str) -> bool:
        """Return whether the app's tables live on `default`; an app in neither list is shared."""
        return app_label in self.shared_apps or app_label not in self.tenant_apps

    @property
    def registry(self) -> str:
        """The dotted path of the registry (MTDD_REGISTRY)."""
        return _get("MTDD_REGISTRY", DEFAULT_REGISTRY)

    @property
    def resolvers(self) -> Iterable[Any]:
        """How a request's tenant is found (MTDD_RESOLVERS)."""
        return _get("MTDD_RESOLVERS", cast(Iterable[Any], ()))

    @property
    def lock_requests(self) -> bool:
        """Whether a request cannot leave its tenant (MTDD_LOCK_REQUESTS)."""
        return _get("MTDD_LOCK_REQUESTS", default=False)

    @property
    def resolvers_must_agree(self) -> bool:
        """Whether all resolvers are asked, and must agree (MTDD_RESOLVERS_MUST_AGREE)."""
        return _get("MTDD_RESOLVERS_MUST_AGREE", False)

    @property
    def trusted_proxies(self) -> Iterable[str]:
        """Networks whose peers may name a tenant in a header (MTDD_TRUSTED_PROXIES)."""
        return _get("MTDD_TRUSTED_PROXIES", cast(Iterable[str], ()))

    @property
    def email_accounts(self) -> Any:
        """What gives a tenant its e-mail account, or its path (MTDD_EMAIL_ACCOUNTS)."""
        return _get("MTDD_EMAIL_ACCOUNTS", cast(Any, None))

    @property
    def tenant_managers(self) -> Any:
        """Which models' managers get ``.mtdd()`` (MTDD_TENANT_MANAGERS)."""
        return _get("MTDD_TENANT_MANAGERS", cast(Any, True))

    @property
    def connect_timeout(self) -> float:
        """Seconds to reach a shard server (MTDD_CONNECT_TIMEOUT)."""
        return _get("MTDD_CONNECT_TIMEOUT", 5.0)

    @property
    def statement_timeout(self) -> float:
        """Seconds for one statement; 0 leaves it to the server (MTDD_STATEMENT_TIMEOUT)."""
        return _get("MTDD_STATEMENT_TIMEOUT", 0.0)

    @property
    def kept_connections(self) -> int:
        """How many tenants' idle connections a thread keeps (MTDD_KEPT_CONNECTIONS)."""
        return _get("MTDD_KEPT_CONNECTIONS", 64)

    @property
    def shard_token(self) -> str:
        """The bearer token for shard servers, empty for none (MTDD_SHARD_TOKEN)."""
        return _get("MTDD_SHARD_TOKEN", "")

    @property
    def shard_key(self) -> Mapping[str, Any] | None:
        """Who signs bearer tokens with which key, None for nobody (MTDD_SHARD_KEY)."""
        return _get("MTDD_SHARD_KEY", cast(Mapping[str, Any] | None, None))

    @property
    def shard_tls(self) -> Mapping[str, Any] | None:
        """The PEM files for TLS to shard servers, None for no TLS (MTDD_SHARD_TLS)."""
        return _get("MTDD_SHARD_TLS", cast(Mapping[str, Any] | None, None))

    @property
    def route_ttl(self) -> float:
        """Seconds after which a route is read again (MTDD_ROUTE_TTL)."""
        return _get("MTDD_ROUTE_TTL", 60.0)

    @property
    def name_rest(self) -> float:
        """Seconds for which a name that is free again is nobody's (MTDD_NAME_REST)."""
        return _get("MTDD_NAME_REST", 120.0)

    @property
    def deletion_grace(self) -> float:
        """Seconds for which a deleted tenant can be brought back (MTDD_DELETION_GRACE)."""
        return _get("MTDD_DELETION_GRACE", 7 * 24 * 3600.0)

    @property
    def archive_root(self) -> Path | None:
        """The folder for archives that jobs write, None for none (MTDD_ARCHIVE_ROOT)."""
        root = _get("MTDD_ARCHIVE_ROOT", cast(str | Path | None, None))
        return Path(root) if root else None

    @property
    def task_backend(self) -> str:
        """The alias in TASKS that jobs are handed to, empty for none (MTDD_TASK_BACKEND)."""
        return _get("MTDD_TASK_BACKEND", "default")

    @property
    def atomic_requests(self) -> bool:
        """Whether a view is one transaction in its tenant (ATOMIC_REQUESTS of tenants)."""
        configured = _databases()
        return isinstance(configured, Databases) and bool(
            configured.template.get("ATOMIC_REQUESTS", False)
        )

    @property
    def test_shards(self) -> Any:
        """Where tests make tenants: addresses by name, "embedded" or None (MTDD_TEST_SHARDS)."""
        return _get("MTDD_TEST_SHARDS", cast(Any, None))

    @property
    def static_aliases(self) -> Mapping[str, dict[str, Any]]:
        """The aliases written in DATABASES, without any tenant."""
        configured = _databases()
        if isinstance(configured, Databases):
            return configured.static
        return configured if isinstance(configured, dict) else {}

    def is_tenant_alias(self, alias: str) -> bool:
        """Return whether a database alias names a tenant; the registry is not asked."""
        configured = _databases()
        return isinstance(configured, Databases) and configured.is_tenant(alias)

    def is_raw_alias(self, alias: str) -> bool:
        """Return whether a static alias is a whole database on a shard."""
        return self.static_aliases.get(alias, {}).get("ENGINE") == BACKEND

    def check_tenant_name(self, name: str) -> str:
        """Return *name* if it may name a tenant of this project.

        Raises:
            InvalidTenantName: naming the name and the rule it breaks.
        """
        validate_tenant_name(name)
        configured = _databases()
        # Without building the mapping of static aliases, for this runs at each .mtdd().
        static = configured if isinstance(configured, dict) else {}
        if name == DEFAULT_DB_ALIAS or dict.__contains__(static, name):
            raise InvalidTenantName(
                f"{name!r} is a database alias of DATABASES and cannot name a tenant; "
                "choose another."
            )
        return name


def app_labels(entries: Iterable[str]) -> frozenset[str]:
    """Return the labels of the installed apps that *entries* name.

    An entry is an app's label, its dotted name, or the path of its AppConfig, as in
    INSTALLED_APPS; what is not installed is left out (a system check reports it).
    """
    labels = (label_of(entry) for entry in entries)
    return frozenset(label for label in labels if label is not None)


def label_of(entry: str) -> str | None:
    """Return the label of the installed app that *entry* names, or None."""
    apps.check_apps_ready()
    for config in apps.get_app_configs():
        path = f"{type(config).__module__}.{type(config).__qualname__}"
        if entry in (config.name, config.label, path):
            return config.label
    return None


mtdd_settings: Final = MTDDSettings()


def _forget_on_change(*, setting: str, **_: object) -> None:
    if setting in {"TENANT_APPS", "SHARED_APPS", "INSTALLED_APPS"}:
        mtdd_settings.forget()


setting_changed.connect(_forget_on_change, dispatch_uid="mtdd_router.conf")
