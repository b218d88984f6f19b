"""The ledger of migrations: each run, and what became of each tenant in it.

What is true of a tenant stands in its own django_migrations. The ledger says what
was meant, what is left of it, and what went wrong.
"""

from typing import Any

from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

__all__ = ["MigrationItem", "MigrationRun"]


class MigrationRun(models.Model):
    """One run over many tenants."""

    class State(models.TextChoices):
        """How far it is; a run whose process died says RUNNING, but holds no lock."""

        RUNNING = "running", _("running")
        FINISHED = "finished", _("finished")
        FAILED = "failed", _("failed")
        INTERRUPTED = "interrupted", _("interrupted")

    state = models.CharField(
        _("state"), max_length=16, choices=State.choices, default=State.RUNNING
    )
    app_label = models.CharField(_("app"), max_length=255, blank=True)
    migration = models.CharField(
        _("migration"), max_length=255, blank=True, help_text=_("Empty: the newest.")
    )
    fake = models.BooleanField(
        _("fake"), default=False, help_text=_("Record the migrations without running them.")
    )
    operator = models.CharField(
        _("operator"), max_length=255, help_text=_("User, machine and process that run it.")
    )
    tenants = models.PositiveIntegerField(_("tenants"), default=0)
    unchanged = models.PositiveIntegerField(
        _("unchanged"), default=0, help_text=_("Tenants that had nothing to migrate.")
    )
    started_at = models.DateTimeField(_("started"), default=timezone.now)
    finished_at = models.DateTimeField(_("ended"), null=True, blank=True)

    class Meta:
        verbose_name = _("migration run")
        verbose_name_plural = _("migration runs")
        ordering = ("-pk",)
        constraints = (
            models.CheckConstraint(
                condition=models.Q(state__in=["running", "finished", "failed", "interrupted"]),
                name="tenants_migrationrun_state",
            ),
        )

    def __str__(self) -> str:
        where = " ".join(part for part in (self.app_label, self.migration) if part)
        return f"#{self.pk} {where or 'all to the newest'}"

    def counts(self) -> dict[str, int]:
        """Return how many of its tenants are in each state of an item."""
        found: dict[str, Any] = dict(
            self.items.values_list("state").annotate(number=models.Count("pk")).order_by()
        )
        return {state: found.get(state, 0) for state in MigrationItem.State.values}


class MigrationItem(models.Model):
    """What became of one tenant in a run; those without anything to do have none."""

    class State(models.TextChoices):
        """How far it is."""

        PENDING = "pending", _("pending")
        MIGRATED = "migrated", _("migrated")
        UNCHANGED = "unchanged", _("unchanged")
        FAILED = "failed", _("failed")
        SKIPPED = "skipped", _("skipped")

    run = models.ForeignKey(
        MigrationRun, on_delete=models.CASCADE, related_name="items", verbose_name=_("run")
    )
    # Names, for a ledger outlives what it tells of.
    tenant = models.CharField(_("tenant"), max_length=63)
    shard = models.CharField(_("shard"), max_length=63)
    state = models.CharField(
        _("state"), max_length=16, choices=State.choices, default=State.PENDING
    )
    migrations = models.JSONField(_("migrations"), default=list)
    seconds = models.FloatField(_("duration"), default=0.0, help_text=_("In seconds."))
    error = models.TextField(_("error"), blank=True)
    finished_at = models.DateTimeField(_("ended"), null=True, blank=True)

    class Meta:
        verbose_name = _("migrated tenant")
        verbose_name_plural = _("migrated tenants")
        ordering = ("tenant",)
        constraints = (
            models.UniqueConstraint(fields=("run", "tenant"), name="tenants_migrationitem_unique"),
            models.CheckConstraint(
                condition=models.Q(
                    state__in=["pending", "migrated", "unchanged", "failed", "skipped"]
                ),
                name="tenants_migrationitem_state",
            ),
        )
        indexes = (models.Index(fields=("run", "state"), name="tenants_migrationitem_idx"),)

    def __str__(self) -> str:
        return f"{self.tenant}: {self.state}"
