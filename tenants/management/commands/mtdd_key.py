"""``mtdd_key``: a key with which a caller of shard servers signs its tokens."""

import json
from pathlib import Path
from typing import Any

from django.core.management.base import CommandParser

from mtdd_router.client.tokens import make_key
from tenants.management.base import RegistryCommand


class Command(RegistryCommand):
    """Make a private and a public key."""

    help = "Make a key for signing tokens, and its public key for the shard servers' callers."
    requires_system_checks = ()

    def add_arguments(self, parser: CommandParser) -> None:
        """Take caller and file."""
        super().add_arguments(parser)
        parser.add_argument("caller", help="Who is going to sign, such as web.")
        parser.add_argument(
            "--to", type=Path, required=True, metavar="FILE", help="The private key's new file."
        )

    def run(self, options: dict[str, Any]) -> None:
        file, caller = options["to"].absolute(), options["caller"]
        public, key_id = make_key(file)
        self.output.data(
            {"caller": caller, "private": str(file), "public": str(public), "key_id": key_id}
        )
        self.output.text("In the file of callers of each shard server (--callers):")
        self.output.text(f"  \\[{caller}]")
        self.output.text(f"  keys = \\[{json.dumps(str(public))}]")
        self.output.text('  tenants = \\["*"]')
        self.output.text("In the settings of the project that signs:")
        self.output.text(f"  MTDD_SHARD_KEY = {json.dumps({'caller': caller, 'file': str(file)})}")
