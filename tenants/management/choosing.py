"""The options by which a command is told of which tenants it is."""

from typing import Any, Final

from django.core.management.base import CommandError, CommandParser

from mtdd_router.types import TenantState
from tenants import services
from tenants.models import Tenant

__all__ = ["add_choice", "chosen_tenants"]

_DATES: Final = ("created_at", "updated_at", "migrated_at", "purge_at")


def add_choice(parser: CommandParser) -> None:
    """Add ``--shard`` and ``--tenant``."""
    parser.add_argument("--shard", help="Only the tenants of this shard.")
    parser.add_argument(
        "--tenant",
        action="append",
        dest="tenants",
        metavar="NAME",
        help="Only this tenant; may be given several times.",
    )


def chosen_tenants(options: dict[str, Any]) -> list[Tenant]:
    """Return the tenants that are meant, with their shards, by name, without their dates.

    Raises:
        CommandError: if one of them is not on the shard.
        TenantDoesNotExist, ShardNotRegistered: naming it.
    """
    shard, names = options["shard"], options["tenants"]
    # Of thousands, to read each one's dates and shard takes longer than PostgreSQL does.
    rows = Tenant.objects.prefetch_related("shard").order_by("name").defer(*_DATES)
    if shard:
        rows = rows.filter(shard=services.get_shard(shard))
    if names:
        chosen = [services.get_tenant(name) for name in dict.fromkeys(names)]
        elsewhere = [tenant.name for tenant in chosen if shard and tenant.shard.name != shard]
        if elsewhere:
            raise CommandError(f"Not on shard {shard!r}: {', '.join(elsewhere)}.")
        return chosen
    # What is being made or deleted has no schema to speak of.
    return list(rows.filter(state__in=[TenantState.ACTIVE, TenantState.FROZEN]))
