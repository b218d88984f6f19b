"""Making a running stack usable: its registry migrated, its shards registered.

All of it may be repeated: what is done already stays as it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from django.core.management import call_command
from django.db import DEFAULT_DB_ALIAS

from tenants.models import Shard
from tenants.services.shards import move_addresses, register_shard

__all__ = ["Prepared", "prepare_stack"]


@dataclass(frozen=True, slots=True)
class Prepared:
    """What had to be done, as names of shards."""

    registered: tuple[str, ...]
    moved: tuple[str, ...]


def prepare_stack(addresses: Mapping[str, str]) -> Prepared:
    """Migrate the registry's database, and register the shards at *addresses*, by name.

    A registered shard whose server answers on another port now gets its new address.

    Raises:
        The exceptions of `register_shard` and `move_addresses`.
    """
    call_command("migrate", database=DEFAULT_DB_ALIAS, interactive=False, verbosity=0)
    known = dict(Shard.objects.values_list("name", "address"))
    moved = move_addresses({name: at for name, at in addresses.items() if name in known})
    new = {name: at for name, at in addresses.items() if name not in known}
    for name, address in new.items():
        register_shard(name, address)
    return Prepared(tuple(new), tuple(shard.name for shard in moved))
