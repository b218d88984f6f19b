"""Django's pre_migrate and post_migrate signals, and the rows that its own receivers make.

Content types and permissions are made on many tenants at once by SQL that does what
Django's receivers do, whatever numbers a tenant's rows have. Other receivers may do
anything, and are called for each tenant.
"""

from collections.abc import Iterable
from importlib import import_module
from typing import Any, Final

from django.apps import apps as global_apps
from django.apps.registry import Apps
from django.contrib.auth import get_permission_codename
from django.db import router
from django.db.models.signals import post_migrate, pre_migrate
from django.dispatch import Signal
from django.utils.module_loading import module_has_submodule
from psycopg import sql

from tenants.services.migrating.planning import Plan
from tenants.services.notifying import receiver_path

__all__ = [
    "connect_receivers",
    "number_of_receivers",
    "permission_rows",
    "permission_statements",
    "send_post_migrate",
    "send_pre_migrate",
]

# They change the plan, do what `permission_statements` does, or only print.
_KNOWN: Final = frozenset(
    {
        "django.contrib.contenttypes.management.inject_rename_contenttypes_operations",
        "django.contrib.contenttypes.management.create_contenttypes",
        "django.contrib.auth.management.create_permissions",
        "tenants.notices.tell_what_migrates_tenants",
    }
)


def connect_receivers() -> None:
    """Import the apps' management modules, which connect receivers; `migrate` does so too."""
    for config in global_apps.get_app_configs():
        if module_has_submodule(config.module, "management"):
            import_module(".management", config.name)


def number_of_receivers() -> tuple[int, int]:
    """Return how many receivers listen to pre_migrate and post_migrate."""
    # The attribute is not documented; has_listeners() does not tell one more from one.
    return len(pre_migrate.receivers), len(post_migrate.receivers)


def send_pre_migrate(using: str, plan: Plan, state_apps: Apps) -> bool:
    """Tell the receivers; return whether others than the known ones were told."""
    return _send(pre_migrate, using, plan, state_apps)


def send_post_migrate(using: str, plan: Plan, state_apps: Apps) -> bool:
    """Tell the receivers; return whether others than the known ones were told."""
    return _send(post_migrate, using, plan, state_apps)


def _send(signal: Signal, using: str, plan: Plan, state_apps: Apps) -> bool:
    called: set[str] = set()
    for config in global_apps.get_app_configs():
        if config.models_module is None:
            continue
        answers = signal.send(
            sender=config,
            app_config=config,
            verbosity=0,
            interactive=False,
            using=using,
            apps=state_apps,
            plan=plan,
        )
        called.update(receiver_path(receiver) for receiver, _ in answers)
    return not called <= _KNOWN


def permission_statements(using: str, state_apps: Apps, *, new: bool = False) -> list[str]:
    """Return the SQL that makes missing content types and permissions of the models there.

    Args:
        using: the tenant's alias.
        state_apps: the models.
        new: whether few or none can be there: then PostgreSQL need not look for them first. What
            is there all the same costs a number that no row will have.
    """
    if not _is_there(using, state_apps, "contenttypes", "ContentType"):
        return []
    types: list[tuple[str, str]] = []
    permissions: list[tuple[str, str, str, str]] = []
    for model in _models(state_apps):
        options = model._meta
        key = (options.app_label, options.model_name)
        types.append(key)
        builtin = [
            (get_permission_codename(action, options), f"Can {action} {options.verbose_name_raw}")
            for action in options.default_permissions
        ]
        permissions += [
            (*key, codename, name) for codename, name in (*builtin, *options.permissions)
        ]
    if not types:
        return []
    statements = [
        _INSERT_TYPES.format(
            rows=_rows(types), where=_UNLESS_IN_THE_WAY if new else _UNLESS_TYPE_IS_THERE
        )
    ]
    if permissions and _is_there(using, state_apps, "auth", "Permission"):
        statements.append(
            _INSERT_PERMISSIONS.format(
                rows=_rows(permissions),
                where=_UNLESS_IN_THE_WAY if new else _UNLESS_PERMISSION_IS_THERE,
            )
        )
    return [statement.as_string() for statement in statements]


def permission_rows(using: str, state_apps: Apps) -> str:
    """Return the query for one text that is the same where the same such rows are.

    It is empty where there are none. Numbers of rows do not matter, nor what permissions are
    called, which Django leaves as it is.
    """
    if not _is_there(using, state_apps, "contenttypes", "ContentType"):
        return ""
    if not _is_there(using, state_apps, "auth", "Permission"):
        return _ROWS
    return _ROWS_WITH_PERMISSIONS


def _is_there(using: str, state_apps: Apps, app_label: str, name: str) -> bool:
    """Whether the tenant has a table of the model."""
    try:
        model = state_apps.get_model(app_label, name)
    except LookupError:
        return False
    return router.allow_migrate_model(using, model)


def _models(state_apps: Apps) -> Iterable[Any]:
    """Yield the models that Django's receivers look at, in their order."""
    for config in global_apps.get_app_configs():
        if config.models_module is None:
            continue
        try:
            yield from state_apps.get_app_config(config.label).get_models()
        except LookupError:
            continue


def _rows(rows: Iterable[tuple[str, ...]]) -> sql.Composed:
    """Return *rows* as an array for each column: PostgreSQL reads these faster than VALUES."""
    columns = ([str(value) for value in column] for column in zip(*rows, strict=True))
    arrays = (sql.SQL("{}::text[]").format(column) for column in columns)
    return sql.SQL("unnest({})").format(sql.SQL(", ").join(arrays))


_INSERT_TYPES: Final = sql.SQL(
    "INSERT INTO django_content_type (app_label, model)"
    " SELECT app_label, model FROM {rows} AS wanted (app_label, model) {where}"
)
_UNLESS_TYPE_IS_THERE: Final = sql.SQL(
    "WHERE NOT EXISTS (SELECT FROM django_content_type AS t"
    " WHERE t.app_label = wanted.app_label AND t.model = wanted.model)"
)
_INSERT_PERMISSIONS: Final = sql.SQL(
    "INSERT INTO auth_permission (name, content_type_id, codename)"
    " SELECT wanted.name, t.id, wanted.codename"
    " FROM {rows} AS wanted (app_label, model, codename, name)"
    " JOIN django_content_type AS t USING (app_label, model) {where}"
)
_UNLESS_PERMISSION_IS_THERE: Final = sql.SQL(
    "WHERE NOT EXISTS (SELECT FROM auth_permission AS p"
    " WHERE p.content_type_id = t.id AND p.codename = wanted.codename)"
)
# Both tables have a unique constraint for that.
_UNLESS_IN_THE_WAY: Final = sql.SQL("ON CONFLICT DO NOTHING")
_ROWS: Final = (
    "SELECT count(*) || ' ' || coalesce(sum(hashtextextended("
    "concat_ws(' ', t.app_label, t.model), 0)), 0) FROM django_content_type AS t"
)
# That each name is in one hash with the one before it tells whose permission it is.
_ROWS_WITH_PERMISSIONS: Final = (
    "SELECT count(*) || ' ' || coalesce(sum(hashtextextended("
    "concat_ws(' ', t.app_label, t.model, p.codename), 0)), 0) FROM django_content_type AS t"
    " LEFT JOIN auth_permission AS p ON p.content_type_id = t.id"
)
