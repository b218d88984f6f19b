"""``mtdd_certs``: a certificate authority for development, and certificates."""

from pathlib import Path
from typing import Any

from django.core.management import CommandError, CommandParser

from mtdd_router.embedded import StackError, make_certificates
from tenants.management.base import RegistryCommand
from tenants.management.stack import stack_folder


class Command(RegistryCommand):
    """Make certificates for shard servers, and for the project that talks to them."""

    help = (
        "Make a certificate authority for development, unless there is one, and sign new "
        "certificates for shard servers and for this project."
    )
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Take folder, hosts and days."""
        super().add_arguments(parser)
        parser.add_argument(
            "--folder", type=Path, help="Where the files go (default: certificates in the stack's)."
        )
        parser.add_argument(
            "--host",
            action="append",
            dest="hosts",
            help="A name or IP address of a shard server; may be repeated "
            "(default: localhost, 127.0.0.1 and ::1).",
        )
        parser.add_argument("--days", type=int, default=90, help="How long they are valid.")

    def run(self, options: dict[str, Any]) -> None:
        if options["days"] < 1:
            raise CommandError("--days must be 1 or more.")
        folder = options["folder"] or stack_folder() / "certificates"
        hosts = options["hosts"] or ["localhost", "127.0.0.1", "::1"]
        try:
            made = make_certificates(folder.resolve(), hosts, options["days"])
        except StackError as exc:
            raise CommandError(str(exc)) from exc
        self.output.data(
            {
                "authority": str(made.authority),
                "server": [str(made.server), str(made.server_key)],
                "client": [str(made.client), str(made.client_key)],
                "hosts": hosts,
                "days": options["days"],
            }
        )
        self.output.text(f"The shard server, for {', '.join(hosts)}:")
        self.output.text(
            f"  --tls-certificate {made.server} --tls-key {made.server_key} "
            f"--tls-client-ca {made.authority}"
        )
        self.output.text("The project's settings:")
        self.output.text(
            f'  MTDD_SHARD_TLS = {{"authorities": "{made.authority}", '
            f'"certificate": "{made.client}", "key": "{made.client_key}"}}'
        )
