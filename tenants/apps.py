"""The app's configuration."""

from django.apps import AppConfig
from django.db.models.signals import post_migrate

__all__ = ["TenantsConfig"]


class TenantsConfig(AppConfig):
    """The registry app, label ``tenants``."""

    name = "tenants"
    label = "tenants"
    verbose_name = "Tenants and shards"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register the system checks, and what `migrate` says of tenants."""
        from tenants import checks  # noqa: F401
        from tenants.notices import tell_what_migrates_tenants

        post_migrate.connect(tell_what_migrates_tenants, sender=self)
