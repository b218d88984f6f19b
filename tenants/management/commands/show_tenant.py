"""``show_tenant``: all that is known of one tenant."""

from dataclasses import asdict
from typing import Any

from django.core.management.base import CommandParser
from django.utils import timezone

from tenants import services
from tenants.management.base import RegistryCommand
from tenants.management.output import facts, styled
from tenants.management.rows import size, tenant_data, when
from tenants.models import TenantRedirect


class Command(RegistryCommand):
    """Show a tenant: placement, state, and what it holds."""

    help = "Show where a tenant lives, its state, and what it holds."

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("name")

    def run(self, options: dict[str, Any]) -> None:
        tenant = services.get_tenant(options["name"])
        contents = services.measure_contents(tenant)
        data = tenant_data(tenant, contents.size_bytes)
        former = list(TenantRedirect.objects.filter(tenant=tenant, expires_at__gt=timezone.now()))
        redirects = [{"name": one.name, "expires_at": one.expires_at} for one in former]
        domains = list(tenant.domains.values_list("domain", flat=True))
        self.output.data(
            {**data, "contents": asdict(contents), "redirects": redirects, "domains": domains}
        )
        names = "; ".join(f"{one.name}, until {when(one.expires_at)}" for one in former)
        self.output.text(
            facts(
                {
                    "name": tenant.name,
                    "state": styled(tenant.state),
                    "shard": f"{tenant.shard.name} ({tenant.shard.address})",
                    "isolation": tenant.isolation,
                    "namespace": tenant.namespace,
                    "role": tenant.role,
                    "epoch": tenant.epoch,
                    "size": size(contents.size_bytes),
                    "tables": "-" if contents.tables is None else contents.tables,
                    "rows, estimated": "-" if contents.rows is None else f"{contents.rows:,}",
                    "created": when(tenant.created_at),
                    "changed": when(tenant.updated_at),
                    "last migration": when(tenant.migrated_at),
                    **({"former names": names} if names else {}),
                    **({"domains": ", ".join(domains)} if domains else {}),
                    **({"purged after": when(tenant.purge_at)} if tenant.purge_at else {}),
                    **({"not known": contents.error} if contents.error else {}),
                }
            )
        )
