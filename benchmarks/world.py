"""The servers, tenants and candidates that the chosen rows need, each made once.

All stand on one PostgreSQL. Direct candidates, PgBouncer and django-tenants work on the
very tables that ours has made: a tenant is a schema, or a database, to all of them.
"""

from collections.abc import Callable, Iterable
from contextlib import ExitStack
from types import TracebackType
from typing import Any, Self

import psycopg

from benchmarks.candidates import OURS, Candidate, Spec, Variant
from benchmarks.middle import DelayLine, Hop, PgBouncer
from benchmarks.servers import Shard, started
from benchmarks.sites import PLANES, SITES

__all__ = ["World"]

_CONNECTIONS = 1200
# Tenants; each takes more than a megabyte.
_MOST_IN_MEMORY = 2000
_REGISTRY = "registry"
# A copy that nobody is connected to, since PostgreSQL copies no other.
_SPARE = "registry_spare"


class World:
    """What rows are measured in; as a context manager, running inside the block.

    Args:
        specs: all candidates that will be asked for.
        say: is told what is being made.
        variants: those of *specs*, and under the empty name how ours runs by itself.
        module: the module to run as the shard server.
    """

    def __init__(
        self,
        specs: Iterable[Spec],
        say: Callable[[str], None],
        *,
        variants: Iterable[Variant] = (Variant(),),
        module: str = "mtdd_router.server",
    ) -> None:
        self._specs = set(specs)
        self._say = say
        self._variants = {variant.name: variant for variant in variants}
        self._module = module
        self._stack = ExitStack()
        self._shards: dict[tuple[str, str], Shard] = {}
        self._lines: dict[tuple[str, float], str] = {}
        self._registries: dict[tuple[str, float], str] = {}
        self._namespaces: dict[str, dict[str, str]] = {}
        self._candidates: dict[Spec, Candidate] = {}

    def __enter__(self) -> Self:
        with self._stack:
            sites = {spec.site for spec in self._specs}
            many = sum(SITES[site].tenants for site in sites) > _MOST_IN_MEMORY
            self.postgres = self._stack.enter_context(started(_CONNECTIONS, on_disk=many))
            if sites:
                self._provision(sites)
            self._stack = self._stack.pop_all()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stack.close()

    def candidate(self, spec: Spec) -> Candidate:
        """Return the running candidate of *spec*."""
        if spec not in self._candidates:
            tenants = sorted(self._namespaces[spec.site])
            variant = self._variants[spec.variant]
            candidate = Candidate(spec, self._settings(spec), tenants, variant)
            self._candidates[spec] = self._stack.enter_context(candidate)
        return self._candidates[spec]

    def retire(self, specs: Iterable[Spec]) -> None:
        """End the candidates of *specs*, so that their connections are nobody's burden."""
        for spec in specs:
            if (candidate := self._candidates.pop(spec, None)) is not None:
                candidate.close()

    def shard(self, spec: Spec) -> Shard:
        """Return the shard server that the candidate of *spec* uses."""
        return self._shards[spec.variant, spec.site]

    def plain_settings(self, spec: Spec, dsn: str) -> dict[str, Any]:
        """Return what a candidate of *spec* is told whose database is *dsn*."""
        return {
            "kind": spec.kind,
            "dsn": dsn,
            "schema": "",
            "databases": {},
            "namespaces": self._namespaces.get(spec.site, {}),
            "reconnects": spec.reconnects,
            "keeps": SITES[spec.site].tenants if spec.keeps else 0,
        }

    def copy_registry(self, name: str) -> str:
        """Return the connection string of a copy of the registry, which nobody else has."""
        with psycopg.connect(self.postgres.dsn("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{_SPARE}"'.encode())
        return self.postgres.dsn(name)

    # internals

    def _provision(self, sites: set[str]) -> None:
        """Start the shard servers of *sites*, and let them have their tenants."""
        wanted = {}
        for name in sorted(sites):
            dsn = self.postgres.create_shard_database(_database(name))
            used = {spec.variant for spec in self._specs if spec.site == name}
            for variant in self._variants.values():
                if not variant.name or variant.name in used:
                    self._start_shard(name, dsn, variant)
            site = SITES[name]
            wanted[_shard_name(name)] = {
                "address": self._shards["", name].address,
                "tenants": site.tenants,
                "users": site.users,
                "planes": PLANES.rows if site.planes else 0,
                "isolation": site.isolation,
            }
        count = sum(SITES[name].tenants for name in sites)
        self._say(f"Making {count:,} tenants ...")
        self.postgres.create_database(_REGISTRY)
        self._registries["", 0.0] = _REGISTRY
        spec = Spec(OURS)
        settings = self.plain_settings(spec, self.postgres.dsn(_REGISTRY))
        with Candidate(spec, settings, [], self._variants[""]) as maker:
            made = maker.ask(do="provision", sites=wanted)
        self._namespaces = {name: made[_shard_name(name)] for name in sites}
        for name in sites:
            self.postgres.analyze(_database(name))
        with psycopg.connect(self.postgres.dsn("postgres"), autocommit=True) as connection:
            connection.execute(f'CREATE DATABASE "{_SPARE}" TEMPLATE "{_REGISTRY}"'.encode())

    def _start_shard(self, name: str, dsn: str, variant: Variant) -> None:
        site = SITES[name]
        shard = Shard(
            dsn,
            root=variant.root,
            module=variant.module or self._module,
            environment=variant.variables,
            workers=site.workers,
            pool=site.pool,
        )
        self._shards[variant.name, name] = self._stack.enter_context(shard)

    def _settings(self, spec: Spec) -> dict[str, Any]:
        """Return what the candidate of *spec* is told."""
        if spec.kind == OURS:
            return self.plain_settings(spec, self.postgres.dsn(self._registry(spec)))
        namespaces, database = self._namespaces[spec.site], _database(spec.site)
        schema = next(iter(namespaces.values())) if len(namespaces) == 1 else ""
        if spec.kind == "pgbouncer":
            bouncer = self._stack.enter_context(PgBouncer(self.postgres, database, schema))
            port = self._line(str(bouncer.port), spec.round_trip)
            return self.plain_settings(spec, _dsn(port, database))
        port = str(self.postgres.port)
        if spec.kind == "empty hop":
            port = str(self._stack.enter_context(Hop(self.postgres)).port)
        if spec.unix:
            dsns = self.postgres.dsn
        else:
            port = self._line(port, spec.round_trip)

            def dsns(database: str) -> str:
                return _dsn(port, database)

        settings = self.plain_settings(spec, dsns(database))
        if SITES[spec.site].isolation == "database":
            settings["databases"] = {name: dsns(where) for name, where in namespaces.items()}
        elif spec.kind in {"direct", "empty hop"}:
            settings["schema"] = schema
        return settings

    def _line(self, target: str, round_trip: float) -> str:
        """Return the port through which *target* is reached with that delay."""
        if not round_trip:
            return target
        if (target, round_trip) not in self._lines:
            line = self._stack.enter_context(DelayLine(target, round_trip))
            self._lines[target, round_trip] = str(line.port)
        return self._lines[target, round_trip]

    def _registry(self, spec: Spec) -> str:
        """Return the registry of *spec*: a copy, whose shards are elsewhere or further away."""
        key = spec.variant, spec.round_trip
        if key not in self._registries:
            name = f"{_REGISTRY}_{len(self._registries)}"
            with psycopg.connect(self.copy_registry(name)) as connection:
                for (variant, site), shard in self._shards.items():
                    if variant != spec.variant:
                        continue
                    port = self._line(shard.address.rpartition(":")[2], spec.round_trip)
                    connection.execute(
                        "UPDATE tenants_shard SET address = %s WHERE name = %s",
                        [f"127.0.0.1:{port}", _shard_name(site)],
                    )
            self._registries[key] = name
        return self._registries[key]


def _database(site: str) -> str:
    return f"shard_{site.replace(' ', '_')}"


def _dsn(port: str, database: str) -> str:
    return f"host=127.0.0.1 port={port} user=postgres dbname={database}"


def _shard_name(site: str) -> str:
    return site.replace(" ", "-")
