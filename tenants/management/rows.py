"""Shards and tenants as rows of tables, and as plain values for JSON."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict
from datetime import datetime
from typing import Any

from django.template.defaultfilters import filesizeformat
from django.utils import timezone
from rich.console import RenderableType
from rich.text import Text

from tenants.management.output import styled, table
from tenants.models import Shard, Tenant, TenantDomain
from tenants.services import ShardStatus

__all__ = [
    "domain_data",
    "domain_table",
    "shard_data",
    "shard_table",
    "size",
    "status_data",
    "tenant_data",
    "tenant_table",
    "when",
]


def size(size_bytes: int | None) -> str:
    """Return a size for people; a dash if it is not known."""
    return "-" if size_bytes is None else filesizeformat(size_bytes).replace("\xa0", " ")


def when(moment: datetime | None) -> str:
    """Return a time for people, in the project's time zone; a dash for never."""
    return "-" if moment is None else timezone.localtime(moment).strftime("%Y-%m-%d %H:%M:%S")


def shard_data(shard: Shard) -> dict[str, Any]:
    """Return what is registered of a shard."""
    return {
        "name": shard.name,
        "address": shard.address,
        "shard_id": shard.shard_id,
        "weight": shard.weight,
        "accepts_tenants": shard.accepts_tenants,
        "created_at": shard.created_at,
    }


def status_data(status: ShardStatus, tenants: int) -> dict[str, Any]:
    """Return what is registered of a shard, and what it says itself."""
    return {
        **shard_data(status.shard),
        "tenants": tenants,
        "healthy": status.healthy,
        "error": status.error or None,
        "info": asdict(status.info) if status.info else None,
    }


def shard_table(statuses: Iterable[ShardStatus], tenants: Mapping[int, int]) -> RenderableType:
    """Return the table of shards; *tenants* counts them by the shard's key."""
    rows: list[list[str | Text]] = []
    for status in statuses:
        shard, info = status.shard, status.info
        rows.append(
            [
                shard.name,
                shard.address,
                styled("up" if status.healthy else "down"),
                str(tenants.get(shard.pk, 0)),
                size(info.database_bytes if info else None),
                str(shard.weight),
                "yes" if shard.accepts_tenants else "no",
                f"{info.pool_busy}/{info.pool_open}/{info.pool_size}" if info else "-",
                info.server_version if info else "-",
                info.postgres_version if info else "-",
            ]
        )
    columns = (
        "name", "address", "health", "tenants#", "size#", "weight#", "new tenants",
        "pool busy/open/max", "server", "PostgreSQL",
    )  # fmt: skip
    optional = ("pool busy/open/max", "server", "PostgreSQL", "weight#")
    return table(columns, rows, optional=optional)


def tenant_data(tenant: Tenant, size_bytes: int | None = None) -> dict[str, Any]:
    """Return what is registered of a tenant."""
    return {
        "name": tenant.name,
        "state": tenant.state,
        "shard": tenant.shard.name,
        "address": tenant.shard.address,
        "isolation": tenant.isolation,
        "namespace": tenant.namespace,
        "role": tenant.role,
        "epoch": tenant.epoch,
        "size_bytes": size_bytes,
        "created_at": tenant.created_at,
        "updated_at": tenant.updated_at,
        "migrated_at": tenant.migrated_at,
        "purge_at": tenant.purge_at,
    }


def domain_data(row: TenantDomain) -> dict[str, Any]:
    """Return what is registered of a domain."""
    return {"domain": row.domain, "tenant": row.tenant.name, "created_at": row.created_at}


def domain_table(domains: Iterable[TenantDomain]) -> RenderableType:
    """Return the table of domains."""
    rows: list[list[str | Text]] = [
        [row.domain, row.tenant.name, when(row.created_at)] for row in domains
    ]
    return table(("domain", "tenant", "added"), rows)


def tenant_table(
    tenants: Iterable[Tenant], sizes: Mapping[str, int] | None = None
) -> RenderableType:
    """Return the table of tenants, with their *sizes* by name if given."""
    columns = ["name", "state", "shard", "isolation", "namespace", "epoch#", "last migration"]
    if sizes is not None:
        columns.append("size#")
    rows: list[list[str | Text]] = []
    for tenant in tenants:
        row: list[str | Text] = [
            tenant.name,
            styled(tenant.state),
            tenant.shard.name,
            tenant.isolation,
            tenant.namespace,
            str(tenant.epoch),
            when(tenant.migrated_at),
        ]
        if sizes is not None:
            row.append(size(sizes.get(tenant.name)))
        rows.append(row)
    return table(columns, rows, optional=("epoch#", "isolation", "last migration"))
