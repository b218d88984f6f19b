"""System checks of the configuration; each message names the setting and says what to do.

    mtdd.E001  DATABASES was not made by databases()
    mtdd.E002  DATABASE_ROUTERS lacks TenantRouter
    mtdd.W003  a router stands before TenantRouter
    mtdd.E004  TENANT_APPS or SHARED_APPS is no list of names
    mtdd.E005  TENANT_APPS or SHARED_APPS names an app that is not installed
    mtdd.E006  an app that must be on `default` is a tenant app
    mtdd.E007  MTDD_REGISTRY cannot be used
    mtdd.E008  MTDD_RESOLVERS cannot be used
    mtdd.E009  MTDD_TENANT_MANAGERS cannot be used
    mtdd.E010  a duration is wrong
    mtdd.E011  MTDD_SHARD_TOKEN is no string
    mtdd.W012  MTDD_RESOLVERS is set, but TenantMiddleware is not used
    mtdd.E013  MIDDLEWARE is in the wrong order
    mtdd.E014  a foreign key would cross databases with a constraint
    mtdd.E015  TENANT_APPS is empty
    mtdd.W017  a deletion in a tenant would look for rows that are only on `default`
    mtdd.E018  MTDD_SHARD_TLS cannot be used
    mtdd.E019  MTDD_KEPT_CONNECTIONS is no number
    mtdd.E070  MTDD_SHARD_KEY cannot be used
    mtdd.W071  MTDD_SHARD_KEY and MTDD_SHARD_TOKEN are both set

Invariants: a check never raises for a wrong setting, and never queries a database.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from math import isfinite
from typing import Any, Final

from django.apps import AppConfig, apps
from django.conf import settings
from django.core import checks
from django.core.checks import CheckMessage, Error
from django.db import models
from django.utils.module_loading import import_string

from mtdd_router.client.endpoint import TLS
from mtdd_router.client.tokens import TokenSigner
from mtdd_router.conf import label_of, mtdd_settings
from mtdd_router.databases import Databases
from mtdd_router.directory import load_registry
from mtdd_router.errors import ConfigurationError
from mtdd_router.middleware import TenantMiddleware
from mtdd_router.resolvers import SessionResolver, load_resolvers
from mtdd_router.routers import TenantRouter

__all__ = ["check_relations", "run_checks"]

_ZERO_MEANS_SOMETHING: Final = (
    "MTDD_STATEMENT_TIMEOUT",
    "MTDD_ROUTE_TTL",
    "MTDD_DELETION_GRACE",
    "MTDD_NAME_REST",
)
_DURATIONS: Final = ("MTDD_CONNECT_TIMEOUT", *_ZERO_MEANS_SOMETHING)

_SESSION: Final = "django.contrib.sessions.middleware.SessionMiddleware"
_AUTHENTICATION: Final = "django.contrib.auth.middleware.AuthenticationMiddleware"


def run_checks(**options: Any) -> Iterator[CheckMessage]:
    """Run every check of this module but that of the models."""
    for check in (
        check_databases,
        check_routers,
        check_apps,
        check_registry,
        check_resolvers,
        check_middleware,
        check_tenant_managers,
        check_values,
    ):
        yield from check(**options)


def check_databases(**_: Any) -> Iterator[CheckMessage]:
    """DATABASES answers for tenants."""
    configured: object = settings.DATABASES
    if not isinstance(configured, Databases):
        yield Error(
            "DATABASES does not know tenants.",
            hint="Write DATABASES = mtdd_router.databases({...}) around your aliases.",
            id="mtdd.E001",
        )


def check_routers(**_: Any) -> Iterator[CheckMessage]:
    """TenantRouter decides first."""
    places = [_is_subclass(_class_of(entry), TenantRouter) for entry in settings.DATABASE_ROUTERS]
    hint = 'Write DATABASE_ROUTERS = ["mtdd_router.TenantRouter", ...].'
    if not any(places):
        yield Error("DATABASE_ROUTERS lacks TenantRouter.", hint=hint, id="mtdd.E002")
    elif not places[0]:
        yield checks.Warning(
            "DATABASE_ROUTERS has a router before TenantRouter, which could send a tenant's "
            "rows elsewhere.",
            hint=hint,
            id="mtdd.W003",
        )


def check_apps(**_: Any) -> Iterator[CheckMessage]:
    """TENANT_APPS and SHARED_APPS name installed apps, and what must be shared is."""
    for setting in ("TENANT_APPS", "SHARED_APPS"):
        entries = getattr(settings, setting, ())
        if not _is_list_of_names(entries):
            yield Error(
                f"{setting} must be a list of apps' names.",
                hint=f'Write {setting} = ["myapp", ...], as in INSTALLED_APPS.',
                id="mtdd.E004",
            )
            continue
        if setting == "TENANT_APPS" and not entries:
            yield Error(
                "TENANT_APPS names no app, so no model belongs to a tenant.",
                hint="List there the apps whose tables live on the shards.",
                id="mtdd.E015",
            )
        for entry in entries:
            if label_of(entry) is None:
                yield Error(
                    f"{setting} names {entry!r}, which is not installed.",
                    hint=f"Add it to INSTALLED_APPS, or take it out of {setting}.",
                    id="mtdd.E005",
                )
    if not _is_list_of_names(getattr(settings, "TENANT_APPS", ())):
        return
    for label in sorted({"mtdd_router", _registry_label()} & mtdd_settings.tenant_apps):
        yield Error(
            f"TENANT_APPS names {label!r}, which tells where tenants are and cannot be in one.",
            hint=f"Move {label!r} to SHARED_APPS.",
            id="mtdd.E006",
        )


def check_registry(**_: Any) -> Iterator[CheckMessage]:
    """MTDD_REGISTRY leads to a registry."""
    hint = (
        "Give the path of a class with route(), routes() and routes_of(); "
        '"tenants" must be installed for its.'
    )
    try:
        registry = load_registry()
    except ConfigurationError as exc:
        yield Error(str(exc), hint=hint, id="mtdd.E007")
        return
    wanted = ("route", "routes", "routes_of")
    missing = [name for name in wanted if not callable(getattr(registry, name, None))]
    if missing:
        yield Error(
            f"MTDD_REGISTRY = {mtdd_settings.registry!r} has no {' and no '.join(missing)}.",
            hint=hint,
            id="mtdd.E007",
        )


def check_resolvers(**_: Any) -> Iterator[CheckMessage]:
    """MTDD_RESOLVERS can be loaded."""
    try:
        load_resolvers(mtdd_settings.resolvers)
    except ConfigurationError as exc:
        yield Error(
            str(exc),
            hint='Use "path.to.resolver", ("path.to.Class", {"option": ...}) or a callable.',
            id="mtdd.E008",
        )


def check_middleware(**_: Any) -> Iterator[CheckMessage]:
    """TenantMiddleware is there if it is needed, after what it needs, before what needs it."""
    order = list(settings.MIDDLEWARE)
    place = next(
        (i for i, e in enumerate(order) if _is_subclass(_class_of(e), TenantMiddleware)), None
    )
    try:
        resolvers: Sequence[object] = load_resolvers(mtdd_settings.resolvers)
    except ConfigurationError:
        return
    if place is None:
        if resolvers:
            yield checks.Warning(
                "MTDD_RESOLVERS is set, but TenantMiddleware is not used.",
                hint='Add "mtdd_router.TenantMiddleware" to MIDDLEWARE.',
                id="mtdd.W012",
            )
        return

    def wrong(problem: str, hint: str) -> CheckMessage:
        return Error(f"MIDDLEWARE: {problem}", hint=hint, id="mtdd.E013")

    session = order.index(_SESSION) if _SESSION in order else None
    needs_session = any(isinstance(resolver, SessionResolver) for resolver in resolvers)
    if needs_session and (session is None or session > place):
        yield wrong(
            "SessionResolver needs the session, and SessionMiddleware does not come first.",
            "Put SessionMiddleware before TenantMiddleware.",
        )
    if session is not None and not _is_shared("sessions"):
        if needs_session:
            yield wrong(
                "SessionResolver finds the tenant in the session, which is in the tenant.",
                'Take "django.contrib.sessions" out of TENANT_APPS, or use another resolver.',
            )
        elif session < place:
            yield wrong(
                "SessionMiddleware comes before TenantMiddleware, but sessions live in tenants.",
                "Put TenantMiddleware before SessionMiddleware.",
            )
    if _AUTHENTICATION in order and order.index(_AUTHENTICATION) < place and _is_tenant("auth"):
        yield wrong(
            "AuthenticationMiddleware comes before TenantMiddleware, but users live in tenants.",
            "Put TenantMiddleware before AuthenticationMiddleware.",
        )


def check_tenant_managers(**_: Any) -> Iterator[CheckMessage]:
    """MTDD_TENANT_MANAGERS is a bool, or names models."""
    value = mtdd_settings.tenant_managers
    if isinstance(value, bool):
        return
    hint = 'Use True, False, or a list of models to leave alone, such as ["auth.User"].'
    if isinstance(value, str) or not isinstance(value, Collection):
        yield Error(f"MTDD_TENANT_MANAGERS = {value!r} is wrong.", hint=hint, id="mtdd.E009")
        return
    known = {model._meta.label for model in apps.get_models(include_auto_created=True)}
    for name in value:
        if name not in known:
            yield Error(
                f"MTDD_TENANT_MANAGERS names {name!r}, which is no installed model.",
                hint=hint,
                id="mtdd.E009",
            )
    if isinstance(value, Mapping) and not all(isinstance(on, bool) for on in value.values()):
        yield Error(
            "MTDD_TENANT_MANAGERS: as a dict, it maps models to True or False.",
            hint=hint,
            id="mtdd.E009",
        )


def check_values(**_: Any) -> Iterator[CheckMessage]:
    """Durations and numbers are within reason, the token is a string, and TLS can be used."""
    readers: dict[str, Callable[[], Any]] = {
        "MTDD_CONNECT_TIMEOUT": lambda: mtdd_settings.connect_timeout,
        "MTDD_STATEMENT_TIMEOUT": lambda: mtdd_settings.statement_timeout,
        "MTDD_ROUTE_TTL": lambda: mtdd_settings.route_ttl,
        "MTDD_DELETION_GRACE": lambda: mtdd_settings.deletion_grace,
        "MTDD_NAME_REST": lambda: mtdd_settings.name_rest,
    }
    for setting in _DURATIONS:
        value = readers[setting]()
        zero = setting in _ZERO_MEANS_SOMETHING
        if (
            isinstance(value, bool)
            or not isinstance(value, (int, float))
            or not isfinite(value)
            or value < 0
            or (value == 0 and not zero)
        ):
            yield Error(
                f"{setting} = {value!r} is no duration.",
                hint=f"Give seconds as a number {'of 0 or more' if zero else 'above 0'}.",
                id="mtdd.E010",
            )
    kept: object = mtdd_settings.kept_connections
    if isinstance(kept, bool) or not isinstance(kept, int) or kept < 1:
        yield Error(
            f"MTDD_KEPT_CONNECTIONS = {kept!r} is no number of connections.",
            hint="Give how many tenants' idle connections a thread keeps, 1 or more.",
            id="mtdd.E019",
        )
    token: object = mtdd_settings.shard_token
    if not isinstance(token, str):
        yield Error(
            "MTDD_SHARD_TOKEN must be a string.",
            hint="Give the shard servers' data token, or an empty string for none.",
            id="mtdd.E011",
        )
    yield from _check_shard_key()
    try:
        if (tls := TLS.of(mtdd_settings.shard_tls)) is not None:
            tls.context()
    except ConfigurationError as exc:
        yield Error(
            f"MTDD_SHARD_TLS: {exc}",
            hint="Give the paths of PEM files, {} for the system's authorities, or None.",
            id="mtdd.E018",
        )


def _check_shard_key() -> Iterator[CheckMessage]:
    try:
        if (signer := TokenSigner.of(mtdd_settings.shard_key)) is not None:
            signer.token("check")
    except ConfigurationError as exc:
        yield Error(
            f"MTDD_SHARD_KEY: {exc}",
            hint='Give {"caller": name, "file": path of the key that mtdd_key made}, or None.',
            id="mtdd.E070",
        )
    if mtdd_settings.shard_key is not None and mtdd_settings.shard_token:
        yield checks.Warning(
            "MTDD_SHARD_TOKEN and MTDD_SHARD_KEY are both set; the token is shown.",
            hint="Take out the one that the shard servers do not know.",
            id="mtdd.W071",
        )


def check_relations(
    app_configs: Iterable[AppConfig] | None = None, **_: Any
) -> Iterator[CheckMessage]:
    """No foreign key leads to a table, or is followed from one, in another database."""
    if not _is_list_of_names(getattr(settings, "TENANT_APPS", ())):
        return
    for config in app_configs if app_configs is not None else apps.get_app_configs():
        for model in config.get_models(include_auto_created=True):
            for field in model._meta.local_fields:
                if isinstance(field, models.ForeignKey):
                    yield from _check_constraint(model, field)
                    yield from _check_deletion(model, field)


def _check_constraint(
    model: type[models.Model], field: "models.ForeignKey[Any, Any]"
) -> Iterator[CheckMessage]:
    target = field.remote_field.model
    if not isinstance(target, type) or model._meta.proxy or not model._meta.managed:
        return
    if not vars(field)["db_constraint"]:
        return
    for where, has in (("tenants", _is_tenant), ("`default`", _is_shared)):
        if has(model._meta.app_label) and not has(_home(target)):
            yield Error(
                f"{model._meta.label}.{field.name} has a foreign key constraint, but on {where} "
                f"there is no table of {target._meta.label}.",
                hint="Pass db_constraint=False, or list both apps in the same of TENANT_APPS "
                "and SHARED_APPS.",
                obj=field,
                id="mtdd.E014",
            )


def _check_deletion(
    model: type[models.Model], field: "models.ForeignKey[Any, Any]"
) -> Iterator[CheckMessage]:
    target = field.remote_field.model
    if not isinstance(target, type) or model._meta.proxy:
        return
    left_alone = field.remote_field.on_delete is models.DO_NOTHING
    if _is_tenant(_home(target)) and not _is_tenant(model._meta.app_label) and not left_alone:
        yield checks.Warning(
            f"{model._meta.label}.{field.name} refers to {target._meta.label}, of which there "
            f"are rows in tenants, too. Deleting one there looks for {model._meta.label} in the "
            "tenant, where there is no such table, and fails.",
            hint=f"List the app {model._meta.app_label!r} in TENANT_APPS as well, or use "
            "on_delete=models.DO_NOTHING.",
            obj=field,
            id="mtdd.W017",
        )


def _home(model: type[models.Model]) -> str:
    return (model._meta.concrete_model or model)._meta.app_label


def _is_tenant(label: str) -> bool:
    return mtdd_settings.is_tenant_app(label)


def _is_shared(label: str) -> bool:
    return mtdd_settings.is_shared_app(label)


def _is_list_of_names(value: object) -> bool:
    return (
        isinstance(value, Collection)
        and not isinstance(value, (str, bytes))
        and all(isinstance(entry, str) for entry in value)
    )


def _registry_label() -> str:
    """Return the label of the app that has the registry, or an empty string."""
    config = apps.get_containing_app_config(str(mtdd_settings.registry))
    return "" if config is None else config.label


def _class_of(entry: object) -> object:
    """Return the class that an entry of MIDDLEWARE or DATABASE_ROUTERS means."""
    if isinstance(entry, str):
        try:
            return import_string(entry)
        except ImportError:
            return None  # Django itself says so.
    return type(entry)


def _is_subclass(cls: object, of: type) -> bool:
    return isinstance(cls, type) and issubclass(cls, of)
