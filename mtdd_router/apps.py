"""The Django app: what has to be registered once per process."""

from django.apps import AppConfig, apps

from mtdd_router import context
from mtdd_router.backend.routes import set_route_source
from mtdd_router.backend.work import set_running_work
from mtdd_router.directory import directory

__all__ = ["MTDDRouterConfig"]


class MTDDRouterConfig(AppConfig):
    """Routing of tenants."""

    name = "mtdd_router"
    label = "mtdd_router"
    verbose_name = "MTDD routing"

    def ready(self) -> None:
        # Imported late: they need models.
        from mtdd_router import alias_caches, check_registry, files, managers, signing

        set_route_source(directory, maintenance=context.maintenance_active)
        set_running_work(context)
        managers.watch()
        files.watch()
        alias_caches.watch()
        check_registry.register_checks()
        if apps.is_installed("django.contrib.auth"):
            signing.bind_password_reset()
