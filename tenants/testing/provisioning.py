"""The tenants of tests: made once a process, kept in memory, put back where a flush took them.

Invariants: no tenant is made, changed or dropped but in a registry that Django has made for
tests, on shards given for tests, and under a name that carries the mark of that very
registry, so that two projects, or two processes of one run, never meet, and no real tenant
is ever touched. What an earlier run left under that mark is dropped.
"""

import atexit
import hashlib
import os
import re
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.creation import TEST_DATABASE_PREFIX

from mtdd_router.directory import directory
from mtdd_router.errors import ConfigurationError, InvalidTenantName, MTDDError
from mtdd_router.testing import allow_tenants
from mtdd_router.types import TenantState
from tenants.models import Shard, Tenant
from tenants.services.identity import admin_of
from tenants.services.migrating.single import migrate_tenant
from tenants.services.shards import register_shard
from tenants.services.tenants import create_tenant
from tenants.testing.shards import find_test_shards

__all__ = ["TestTenants", "registry_mark", "test_tenants"]

_LABEL: Final = re.compile(r"[a-z0-9]([a-z0-9-]{0,28}[a-z0-9])?\Z")


def registry_mark(name: str | None = None) -> str:
    """Return what the names of tests' tenants begin with, for the registry's database *name*.

    Raises:
        ConfigurationError: if that is no database of tests.
    """
    settings = connections[DEFAULT_DB_ALIAS].settings_dict
    database = str(name or settings["NAME"])
    made_by_django = settings["TEST"]["NAME"] or TEST_DATABASE_PREFIX
    if not database.startswith(made_by_django):
        raise ConfigurationError(
            f"The registry's database {database!r} is not one that Django has made for tests, "
            "so no test may make tenants there. Run tests with `manage.py test` or pytest-django."
        )
    place = f"{settings['HOST']}:{settings['PORT']}/{database}"
    return f"test-{hashlib.sha256(place.encode()).hexdigest()[:8]}-"


class TestTenants:
    """The tenants that this process has made for its tests."""

    __test__ = False  # pytest shall not take it for tests.

    def __init__(self) -> None:
        self._known: dict[str, Tenant] = {}
        self._addresses: dict[str, str] = {}
        self._marks: set[str] = set()
        self._pid = 0

    @property
    def names(self) -> frozenset[str]:
        """The names of those that are there."""
        return frozenset(self._known)

    def ensure(self, labels: Iterable[str]) -> list[str]:
        """Make sure that there is a tenant for each of *labels*; return their aliases.

        Nothing may be open on `default`, else what is made here is gone with that.

        Raises:
            InvalidTenantName: if that is no label.
            ConfigurationError: if there is no shard, or no registry, for tests.
        """
        aliases = []
        for label in labels:
            if not _LABEL.match(label):
                raise InvalidTenantName(
                    f"{label!r} cannot be part of a test tenant's name: use a-z, 0-9 and '-', "
                    "30 characters at most."
                )
            aliases.append(registry_mark() + label)
        self.begin()
        with allow_tenants(*aliases):
            for alias in aliases:
                self._ensure(alias)
                connections[alias].close()
        return aliases

    def ensure_aside(self, label: str) -> str:
        """Do as `ensure` for one label, also while `default` is in a transaction."""
        alias = registry_mark() + label
        if alias in self._known and Tenant.objects.filter(name=alias).exists():
            return alias

        def ensure() -> None:
            try:
                self.ensure([label])
            finally:
                connections.close_all()

        # Another thread has a connection of its own, and commits.
        with ThreadPoolExecutor(1) as aside:
            aside.submit(ensure).result()
        return alias

    def put_back(self, aliases: Iterable[str]) -> None:
        """Write the rows of these tenants that a flush of the registry has deleted."""
        wanted = set(aliases) & set(self._known)
        if wanted:
            there = Tenant.objects.filter(name__in=wanted).values_list("name", flat=True)
            for alias in sorted(wanted.difference(there)):
                self._put_back(self._known[alias])

    def begin(self, *, keep: bool = False) -> None:
        """Take over the shards, once a process; what an earlier run left there goes.

        When the process ends, so do the tenants, unless somebody is to *keep* them.

        Raises:
            ConfigurationError: if there is no shard, or no registry, for tests.
        """
        if self._marks and self._pid == os.getpid():
            return
        mark = registry_mark()
        self._addresses = find_test_shards()
        self._pid, self._marks, self._known = os.getpid(), {mark}, {}
        if not keep:
            atexit.register(self._drop_at_exit)
        for name, address in self._addresses.items():
            # Of a stack that has ended, or has other ports now.
            Tenant.objects.filter(shard__name=name).exclude(shard__address=address).delete()
            Shard.objects.filter(name=name).exclude(address=address).delete()
        kept = set(Tenant.objects.filter(name__startswith=mark).values_list("name", flat=True))
        self._drop(lambda tenant: tenant.startswith(mark) and tenant not in kept)

    def drop(self, databases: Iterable[str] = ()) -> None:
        """Drop all that were made with this registry, and with those in *databases*.

        The registries may be gone already: it is the shards that are asked.
        """
        if not self._marks or self._pid != os.getpid():
            return
        marks = (*self._marks, *map(registry_mark, databases))
        self._drop(lambda tenant: tenant.startswith(marks))
        directory.forget()
        self._known, self._marks = {}, set()

    def _drop(self, is_wanted: Callable[[str], bool]) -> None:
        for name, address in self._addresses.items():
            admin = admin_of(Shard(name=name, address=address))
            for tenant in list(filter(is_wanted, admin.placements().placements)):
                admin.drop_namespace(tenant)

    def _ensure(self, alias: str) -> None:
        tenant = Tenant.objects.select_related("shard").filter(name=alias).first()
        if tenant is None and (known := self._known.get(alias)) is not None:
            tenant = self._put_back(known)
        if tenant is not None and not _is_whole(tenant):
            self._drop(alias.__eq__)
            tenant.delete()
            tenant = None
        if tenant is None:
            self._register_shards()
            shards = sorted(self._addresses)
            tenant = create_tenant(alias, shard=shards[len(self._known) % len(shards)])
        elif alias not in self._known:
            migrate_tenant(tenant)  # Kept from an earlier run.
        directory.forget(alias)
        self._known[alias] = tenant

    def _register_shards(self) -> None:
        there = set(Shard.objects.values_list("name", flat=True))
        for name, address in self._addresses.items():
            if name not in there:
                register_shard(name, address)

    def _put_back(self, known: Tenant) -> Tenant:
        shard, _ = Shard.objects.get_or_create(
            shard_id=known.shard.shard_id,
            defaults={"name": known.shard.name, "address": known.shard.address},
        )
        columns = ("name", "isolation", "namespace", "role", "epoch", "state", "migrated_at")
        values: dict[str, Any] = {column: getattr(known, column) for column in columns}
        tenant = Tenant.objects.create(shard=shard, **values)
        directory.forget(known.name)
        return tenant

    def _drop_at_exit(self) -> None:
        # Whoever runs the tests should have done it; a failure here would only hide theirs.
        try:
            self.drop()
        except MTDDError:
            return


def _is_whole(tenant: Tenant) -> bool:
    """Whether the tenant's shard has it as the registry does."""
    if tenant.state != TenantState.ACTIVE:
        return False
    found = admin_of(tenant.shard).placements(tenant.name)
    return found.placements.get(tenant.name) == tenant.placement()


test_tenants: Final = TestTenants()
"""Those of this process."""
