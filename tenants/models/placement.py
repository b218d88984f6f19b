"""Shards and tenants, and where a tenant lives."""

from typing import Final

from django.core.validators import MinValueValidator, validate_slug
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from mtdd_router.types import Isolation, Placement, Route, TenantState
from tenants.validators import validate_address, validate_name

__all__ = ["SHARD_NAME_MAX_LENGTH", "Shard", "Tenant"]

SHARD_NAME_MAX_LENGTH: Final = 63


# What a deleted tenant was, and will be when it is brought back.
_COMES_BACK_AS: Final = (TenantState.ACTIVE.value, TenantState.FROZEN.value)


class IsolationChoice(models.TextChoices):
    """``mtdd_router.types.Isolation``, with labels for people."""

    SCHEMA = Isolation.SCHEMA.value, _("schema")
    DATABASE = Isolation.DATABASE.value, _("database")
    STRICT = Isolation.STRICT.value, _("strict")


class StateChoice(models.TextChoices):
    """``mtdd_router.types.TenantState``, with labels for people."""

    CREATING = TenantState.CREATING.value, _("creating")
    ACTIVE = TenantState.ACTIVE.value, _("active")
    FROZEN = TenantState.FROZEN.value, _("frozen")
    DELETED = TenantState.DELETED.value, _("deleted")
    DELETING = TenantState.DELETING.value, _("deleting")


class Shard(models.Model):
    """One PostgreSQL server, fronted by one shard server."""

    name = models.CharField(
        _("name"),
        max_length=SHARD_NAME_MAX_LENGTH,
        unique=True,
        validators=[validate_slug],
        help_text=_("A short name for people and messages, such as eu-1."),
    )
    address = models.CharField(
        _("address"),
        max_length=255,
        unique=True,
        validators=[validate_address],
        help_text=_("Where its shard server answers: host:port or unix:/path."),
    )
    shard_id = models.CharField(
        _("shard id"),
        max_length=64,
        unique=True,
        null=True,
        blank=True,
        editable=False,
        help_text=_("The identity that the shard's own database carries."),
    )
    weight = models.PositiveIntegerField(
        _("weight"),
        default=1,
        validators=[MinValueValidator(1)],
        help_text=_("Its share of new tenants: a shard of weight 2 takes twice as many."),
    )
    accepts_tenants = models.BooleanField(
        _("accepts new tenants"),
        default=True,
        help_text=_("Switch off to place no new tenants here; those there stay."),
    )
    created_at = models.DateTimeField(_("registered"), auto_now_add=True)

    class Meta:
        verbose_name = _("shard")
        verbose_name_plural = _("shards")
        ordering = ("name",)
        constraints = (
            models.CheckConstraint(condition=Q(weight__gte=1), name="tenants_shard_weight"),
        )

    def __str__(self) -> str:
        return self.name


class Tenant(models.Model):
    """One customer, and its placement as the registry knows it."""

    name = models.CharField(
        _("name"),
        max_length=63,
        unique=True,
        validators=[validate_name],
        help_text=_("Also its Django alias: a-z first, then a-z, 0-9, '-' and '_'."),
    )
    shard = models.ForeignKey(
        Shard,
        on_delete=models.PROTECT,
        related_name="tenants",
        verbose_name=_("shard"),
    )
    isolation = models.CharField(
        _("isolation"),
        max_length=16,
        choices=IsolationChoice.choices,
        default=IsolationChoice.SCHEMA.value,
        help_text=_(
            "A schema of the shard's database, or a database of its own; strict is a schema "
            "whose tenant logs in to PostgreSQL itself."
        ),
    )
    namespace = models.CharField(_("namespace"), max_length=63, editable=False)
    role = models.CharField(_("role"), max_length=63, editable=False)
    epoch = models.PositiveBigIntegerField(_("epoch"), default=1, editable=False)
    state = models.CharField(
        _("state"),
        max_length=16,
        choices=StateChoice.choices,
        default=StateChoice.CREATING.value,
        editable=False,
    )
    purge_at = models.DateTimeField(
        _("purged after"),
        null=True,
        blank=True,
        editable=False,
        help_text=_("Until then, a deleted tenant can be brought back with all its data."),
    )
    state_before_deletion = models.CharField(
        _("state before its deletion"), max_length=16, blank=True, editable=False
    )
    created_at = models.DateTimeField(_("created"), auto_now_add=True)
    updated_at = models.DateTimeField(_("changed"), auto_now=True)
    migrated_at = models.DateTimeField(_("last migration"), null=True, blank=True, editable=False)

    class Meta:
        verbose_name = _("tenant")
        verbose_name_plural = _("tenants")
        ordering = ("name",)
        constraints = (
            models.UniqueConstraint(
                fields=("shard", "namespace"), name="tenants_tenant_namespace_unique"
            ),
            models.CheckConstraint(
                condition=Q(state__in=[state.value for state in TenantState]),
                name="tenants_tenant_state",
            ),
            models.CheckConstraint(
                condition=Q(isolation__in=[isolation.value for isolation in Isolation]),
                name="tenants_tenant_isolation",
            ),
            models.CheckConstraint(condition=Q(epoch__gte=1), name="tenants_tenant_epoch"),
            models.CheckConstraint(
                condition=~Q(state=TenantState.DELETED.value)
                | Q(purge_at__isnull=False, state_before_deletion__in=_COMES_BACK_AS),
                name="tenants_tenant_deleted",
            ),
        )
        indexes = (models.Index(fields=("state",), name="tenants_tenant_state_idx"),)

    def __str__(self) -> str:
        return self.name

    def placement(self) -> Placement:
        """Return the placement that the registry believes in."""
        return Placement(
            tenant=self.name,
            isolation=Isolation(self.isolation),
            namespace=self.namespace,
            role=self.role,
            epoch=self.epoch,
            state=TenantState(self.state),
        )

    def route(self) -> Route:
        """Return the route that the registry answers with."""
        return Route(
            tenant=self.name,
            shard=self.shard.name,
            address=self.shard.address,
            epoch=self.epoch,
            state=TenantState(self.state),
            key=self.pk,
            shard_id=self.shard.shard_id or "",
        )
