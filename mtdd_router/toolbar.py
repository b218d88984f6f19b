"""A panel for django-debug-toolbar: the tenant and the shard of each query of a request.

::

    DEBUG_TOOLBAR_PANELS = [
        ...,
        "debug_toolbar.panels.sql.SQLPanel",
        "mtdd_router.toolbar.TenantPanel",
    ]

It also lets the toolbar's SQL panel see the queries of tenants. That panel looks for
connections once, at the beginning of a request, when those to tenants are not there yet.
Invariants: statements are shown without their values; what is instrumented for a request is
seen by no other, and left as it was found.
"""

from collections.abc import Callable
from contextlib import ExitStack
from contextvars import ContextVar, Token
from time import perf_counter
from typing import Any, Final

from asgiref.sync import sync_to_async
from debug_toolbar.panels import Panel
from django.db import connections
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from mtdd_router.backend.routes import known_aliases, wrapper_made
from mtdd_router.conf import mtdd_settings
from mtdd_router.context import current_tenant
from mtdd_router.directory import directory

__all__ = ["TenantPanel"]

_MOST_SHOWN: Final = 1000
_SQL_PANEL: Final = "SQLPanel"


class TenantPanel(Panel):
    """Which tenant, and which shard, each query went to."""

    is_async = True
    title = _("Tenant")
    template = "mtdd_router/toolbar.html"

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._rows: list[dict[str, Any]] = []
        self._count = 0
        self._tenant: str | None = None
        self._watched = ExitStack()
        self._seen: list[Any] = []
        self._token: Token[TenantPanel | None] | None = None

    @property
    def nav_subtitle(self) -> str:
        """The request's tenant, and how many queries it made."""
        stats = self.get_stats()
        count = stats.get("count", 0)
        said = ngettext("%(count)d query", "%(count)d queries", count) % {"count": count}
        return f"{stats.get('tenant') or '-'}: {said}"

    async def aenable_instrumentation(self) -> None:
        """Watch the connections of the thread in which the request's queries will run."""
        self._token = _panel.set(self)
        await sync_to_async(self._watch_thread)()

    def enable_instrumentation(self) -> None:
        """Watch this thread's connections, and those that the request makes."""
        self._token = _panel.set(self)
        self._watch_thread()

    def disable_instrumentation(self) -> None:
        """Leave all connections alone again."""
        if self._token is not None:
            _panel.reset(self._token)
            self._token = None
        self._watched.close()
        self._seen.clear()

    def process_request(self, request: HttpRequest) -> HttpResponse:
        """Note the tenant: the toolbar's middleware comes after TenantMiddleware."""
        self._tenant = current_tenant()
        response: HttpResponse = super().process_request(request)
        return response

    def generate_stats(self, request: HttpRequest, response: HttpResponse) -> None:  # noqa: ARG002
        """Record what is shown."""
        self.record_stats({"tenant": self._tenant, "count": self._count, "queries": self._rows})

    def watch(self, connection: Any) -> None:
        """Note the queries of a connection, and let the SQL panel do so."""
        if any(connection is seen for seen in self._seen):
            return
        self._seen.append(connection)

        def note(execute: Callable[..., Any], sql: str, *arguments: Any) -> Any:
            started = perf_counter()
            try:
                return execute(sql, *arguments)
            finally:
                self._note(connection.alias, str(sql), perf_counter() - started)

        self._watched.enter_context(connection.execute_wrapper(note))
        panel = next((p for p in self.toolbar.enabled_panels if p.panel_id == _SQL_PANEL), None)
        if panel is not None and mtdd_settings.is_tenant_alias(connection.alias):
            # Imported late: only a project that has the toolbar installed can.
            from debug_toolbar.panels.sql.tracking import wrap_cursor

            # What SQLPanel.enable_instrumentation does; it has no way to be told of one more.
            wrap_cursor(connection)
            connection._djdt_logger = panel  # noqa: SLF001 - see above
            self._watched.callback(setattr, connection, "_djdt_logger", None)

    def _watch_thread(self) -> None:
        mine = {connection.alias: connection for connection in connections.all()}
        mine |= {alias: connections[alias] for alias in known_aliases()}
        for connection in mine.values():
            self.watch(connection)

    def _note(self, alias: str, sql: str, seconds: float) -> None:
        self._count += 1
        if len(self._rows) >= _MOST_SHOWN:
            return
        is_tenant = mtdd_settings.is_tenant_alias(alias)
        route = directory.known(alias) if is_tenant else None
        self._rows.append(
            {
                "tenant": alias if is_tenant else f"({alias})",
                "shard": route.shard if route else "-",
                "address": route.address if route else "-",
                "milliseconds": seconds * 1000,
                "sql": sql,
                "other": is_tenant and alias != self._tenant,
            }
        )


_panel: Final[ContextVar[TenantPanel | None]] = ContextVar("mtdd_toolbar_panel", default=None)


def _on_wrapper_made(*, connection: Any, **_: Any) -> None:
    panel = _panel.get()
    if panel is not None:
        panel.watch(connection)


wrapper_made.connect(_on_wrapper_made, dispatch_uid="mtdd_router.toolbar")
