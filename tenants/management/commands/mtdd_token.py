"""``mtdd_token``: a token for whoever calls a shard server without signing."""

from typing import Any

from django.core.management.base import CommandError, CommandParser

from mtdd_router.client.tokens import DEFAULT_LIFETIME, TokenSigner
from mtdd_router.conf import mtdd_settings
from tenants import services
from tenants.management.base import RegistryCommand


class Command(RegistryCommand):
    """Sign a token with the project's key, or another caller's."""

    help = (
        "Sign a bearer token for one shard. Whoever has it may do what its caller may, "
        "so it is best narrowed by --tenant and --read-only."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        """Take shard, key and bounds."""
        super().add_arguments(parser)
        parser.add_argument("shard", help="The shard's name.")
        parser.add_argument("--caller", help="Who signs (default: as MTDD_SHARD_KEY says).")
        parser.add_argument("--key", help="The file of that caller's private key.")
        parser.add_argument(
            "--tenant",
            action="append",
            dest="tenants",
            default=[],
            help="A tenant's name, or a pattern with *; may be repeated (default: the caller's).",
        )
        parser.add_argument("--read-only", action="store_true", help="For reading only.")
        parser.add_argument(
            "--lifetime",
            type=float,
            default=DEFAULT_LIFETIME,
            help="In seconds (default: %(default)s); shard servers bound it, too.",
        )

    def run(self, options: dict[str, Any]) -> None:
        if bool(options["caller"]) != bool(options["key"]):
            raise CommandError("--caller and --key belong together.")
        if options["key"]:
            setting: dict[str, Any] = {"caller": options["caller"], "file": options["key"]}
        elif mtdd_settings.shard_key is not None:
            setting = dict(mtdd_settings.shard_key)
        else:
            raise CommandError("Give --caller and --key, or set MTDD_SHARD_KEY.")
        bounds = {name: options[name] for name in ("tenants", "read_only", "lifetime")}
        signer = TokenSigner.of(setting | bounds)
        assert signer is not None
        shard = services.get_shard(options["shard"])
        token = signer.token(shard.shard_id or "")
        self.output.data({"shard": shard.name, "caller": signer.caller, "token": token})
        self.output.text(token)
