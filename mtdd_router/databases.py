"""The mapping for Django's DATABASES that also answers for tenant names.

Invariants: no Django is imported here, and no registry is asked; whether a tenant
exists is found out when its connection is opened. Only static aliases are stored,
so 10,000 tenants cost nothing. Iteration gives the static aliases and the tenants
whose connection the running thread has open, which is how Django's clean-up at the
end of a request reaches them, and before all others what tests show, see
`mtdd_router.backend.showing`. Only `items` also has the tenant of a request whose view is
to be one transaction, the only one with ATOMIC_REQUESTS: there Django looks for it.
"""

import copy
from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import Any, Final, Self

from mtdd_router.errors import ConfigurationError, InvalidTenantName
from mtdd_router.types import validate_tenant_name

__all__ = ["BACKEND", "Databases", "databases"]

BACKEND: Final = "mtdd_router.backend"

# Always reserved: a missing "default" must be Django's own error, not a tenant.
_DEFAULT_ALIAS: Final = "default"
_FORBIDDEN_IN_TEMPLATE: Final = frozenset({"ENGINE", "NAME", "HOST", "PORT", "USER", "PASSWORD"})


def databases(
    mapping: Mapping[str, dict[str, Any]], *, tenant: Mapping[str, Any] | None = None
) -> "Databases":
    """Return the value for the setting DATABASES.

    *mapping* holds the static aliases, as Django's documentation describes them.
    *tenant* holds what the connections of all tenants have in common, for example
    ``{"CONN_MAX_AGE": None, "OPTIONS": {...}, "TIME_ZONE": "Europe/Vienna"}``. With
    ``"ATOMIC_REQUESTS": True``, a request's view is one transaction in the request's tenant.

    Raises:
        ConfigurationError: naming what is wrong in either.
    """
    return Databases(mapping, tenant=tenant)


class Databases(dict[str, dict[str, Any]]):
    """The static aliases of DATABASES, and an answer for any other tenant name."""

    __slots__ = ("_template",)
    _template: dict[str, Any]

    def __init__(
        self,
        mapping: Mapping[str, dict[str, Any]],
        *,
        tenant: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        if not isinstance(mapping, Mapping):
            raise ConfigurationError("databases() takes a dict of aliases, as DATABASES is.")
        static = mapping.static if isinstance(mapping, Databases) else mapping
        for alias, settings in static.items():
            if not isinstance(settings, dict):
                raise ConfigurationError(f"DATABASES[{alias!r}] must be a dict.")
            self[alias] = settings
        if tenant is None and isinstance(mapping, Databases):
            tenant = mapping.template
        self._template = dict(tenant or {})
        forbidden = sorted(_FORBIDDEN_IN_TEMPLATE.intersection(self._template))
        if forbidden:
            raise ConfigurationError(
                f"databases(tenant=...) cannot set {', '.join(forbidden)}: "
                "a tenant's name and the registry decide where it lives."
            )

    @property
    def static(self) -> dict[str, dict[str, Any]]:
        """The static aliases and their settings, without any tenant."""
        return {alias: dict.__getitem__(self, alias) for alias in dict.__iter__(self)}

    @property
    def template(self) -> dict[str, Any]:
        """What the connections of all tenants have in common."""
        return self._template

    def is_static(self, alias: object) -> bool:
        """Return whether *alias* is written in DATABASES."""
        return dict.__contains__(self, alias)

    def is_tenant(self, alias: object) -> bool:
        """Return whether *alias* can name a tenant; the registry is not asked."""
        if not isinstance(alias, str) or dict.__contains__(self, alias) or alias == _DEFAULT_ALIAS:
            return False
        try:
            validate_tenant_name(alias)
        except InvalidTenantName:
            return False
        return True

    def tenant_settings(self, tenant: str) -> dict[str, Any]:
        """Return the complete settings of a tenant's connection, new at each call.

        Every default that ``ConnectionHandler.configure_settings`` gives to static
        aliases is there, because Django never sees a tenant at that point.
        """
        template = self._template
        return {
            "AUTOCOMMIT": True,
            "CONN_MAX_AGE": 0,
            "CONN_HEALTH_CHECKS": False,
            "TIME_ZONE": None,
            "USER": "",
            "PASSWORD": "",
            "HOST": "",
            "PORT": "",
            **template,
            # Else a request would open a transaction in whatever tenants its thread has open.
            "ATOMIC_REQUESTS": False,
            "ENGINE": BACKEND,
            "NAME": tenant,
            "OPTIONS": {**template.get("OPTIONS", {}), "tenant": tenant},
            "TEST": {
                "CHARSET": None,
                "COLLATION": None,
                "MIGRATE": True,
                "MIRROR": None,
                "NAME": None,
                **template.get("TEST", {}),
            },
        }

    def __contains__(self, alias: object) -> bool:
        return dict.__contains__(self, alias) or self.is_tenant(alias)

    def __missing__(self, alias: str) -> dict[str, Any]:
        if alias == _DEFAULT_ALIAS or not isinstance(alias, str):
            raise KeyError(alias)
        return self.tenant_settings(validate_tenant_name(alias))

    def get(self, alias: str, default: Any = None) -> Any:
        """Return the settings of a static alias or tenant, or *default* for any other name."""
        return self[alias] if alias in self else default  # noqa: SIM401 - this is get()

    def __iter__(self) -> Iterator[str]:
        shown, opened = _tenants()
        # First, so that tests empty them while the registry still tells where they are.
        yield from shown
        yield from list(dict.__iter__(self))
        for alias in opened:
            if not dict.__contains__(self, alias):
                yield alias

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def __reversed__(self) -> Iterator[str]:
        return reversed(list(self))

    def keys(self) -> KeysView[str]:  # type: ignore[override]
        return KeysView(self)

    def values(self) -> ValuesView[dict[str, Any]]:  # type: ignore[override]
        return ValuesView(self)

    def items(self) -> ItemsView[str, dict[str, Any]]:  # type: ignore[override]
        return _Items(self)

    def copy(self) -> Self:
        return type(self)(self.static, tenant=self._template)

    __copy__ = copy

    def __deepcopy__(self, memo: dict[int, Any]) -> Self:
        static = copy.deepcopy(self.static, memo)
        return type(self)(static, tenant=copy.deepcopy(self._template, memo))

    def __reduce__(self) -> tuple[Any, ...]:
        return _rebuild, (self.static, self._template)


class _Items(ItemsView[str, dict[str, Any]]):
    """Aliases with their settings, and in which of them the running request is atomic."""

    def __init__(self, databases: Databases) -> None:
        super().__init__(databases)
        self._databases = databases

    def __iter__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        atomic = _atomic_tenant()
        for alias, settings in super().__iter__():
            if alias != atomic:
                yield alias, settings
        if atomic is not None:
            yield atomic, {**self._databases[atomic], "ATOMIC_REQUESTS": True}


def _rebuild(static: dict[str, dict[str, Any]], template: dict[str, Any]) -> Databases:
    return Databases(static, tenant=template)


def _tenants() -> tuple[list[str], list[str]]:
    """Return the tenants that tests show, and the others that are open."""
    # Imported late: the backend needs Django, and this module is for settings.
    from mtdd_router.backend.routes import shown_and_open

    return shown_and_open()


def _atomic_tenant() -> str | None:
    from mtdd_router.context import atomic_tenant

    return atomic_tenant()
