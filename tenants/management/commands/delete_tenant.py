"""``delete_tenant``: delete a tenant, softly at first."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from tenants import services
from tenants.management.base import RegistryCommand
from tenants.management.output import facts
from tenants.management.rows import size, tenant_data, when
from tenants.models import Tenant


class Command(RegistryCommand):
    """Delete a tenant, after its name was typed once more."""

    help = (
        "Delete a tenant: it answers no more queries at once, and can be brought back with "
        "undelete_tenant until MTDD_DELETION_GRACE has passed and purge_tenants drops its "
        "data. Asks for its name first."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.add_argument("name")
        parser.add_argument(
            "--now",
            action="store_true",
            help="Drop all its data at once, whatever its state; nothing brings it back.",
        )
        parser.add_argument(
            "--noinput",
            "--no-input",
            action="store_false",
            dest="interactive",
            help="Do not ask.",
        )

    def run(self, options: dict[str, Any]) -> None:
        tenant = services.get_tenant(options["name"])
        if options["interactive"]:
            self._confirm(tenant, now=options["now"])
        if options["now"]:
            services.purge_tenant(tenant.name)
            self.output.data({"purged": tenant.name})
            self.output.text(f"Deleted tenant [bold]{tenant.name}[/] and all its data.")
            return
        tenant = services.delete_tenant(tenant.name)
        self.output.data(tenant_data(tenant))
        self.output.text(
            f"Deleted tenant [bold]{tenant.name}[/]: it answers no more queries. Until "
            f"{when(tenant.purge_at)}, undelete_tenant brings it back; then purge_tenants drops "
            "its data."
        )

    def _confirm(self, tenant: Tenant, *, now: bool) -> None:
        if self.output.as_json:
            raise CommandError("With --json nothing can be asked; add --noinput to delete.")
        contents = services.measure_contents(tenant)
        self.output.text(
            "[bold red]This deletes for ever:[/]"
            if now
            else "[bold red]This deletes, and will be lost when it is purged:[/]"
        )
        self.output.text(
            facts(
                {
                    "tenant": tenant.name,
                    "shard": f"{tenant.shard.name} ({tenant.shard.address})",
                    tenant.isolation: tenant.namespace,
                    "size": size(contents.size_bytes),
                    "tables": "not known" if contents.tables is None else contents.tables,
                    "rows": "not known" if contents.rows is None else f"about {contents.rows:,}",
                }
            )
        )
        try:
            typed = input(f"Type the tenant's name ({tenant.name}) to delete it: ")
        except EOFError:
            raise CommandError(
                "Nobody is there to answer; add --noinput to delete unasked."
            ) from None
        if typed.strip() != tenant.name:
            raise CommandError("That is not the tenant's name; nothing was deleted.")
