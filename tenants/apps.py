"""The app's configuration."""

from django.apps import AppConfig

__all__ = ["TenantsConfig"]


class TenantsConfig(AppConfig):
    """The registry app, label ``tenants``."""

    name = "tenants"
    label = "tenants"
    verbose_name = "Tenants and shards"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the system checks."""
        from tenants import checks  # noqa: F401
