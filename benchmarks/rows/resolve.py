"""The row about finding one of a million tenants by its name."""

from dataclasses import dataclass

import psycopg

from benchmarks.candidates import Candidate, Variant
from benchmarks.figures import Check, Result
from benchmarks.rows.row import Row
from benchmarks.world import World

__all__ = ["Resolve"]

_LOOKUPS = 100_000


@dataclass(frozen=True)
class Resolve(Row):
    """A process that knows all tenants looks names up.

    Attributes:
        tenants: how many there are in the registry.
    """

    tenants: int

    def measure(self, world: World, rounds: int) -> Result:
        (spec,) = self.specs
        registry = world.copy_registry("registry_of_many")
        with psycopg.connect(registry) as connection:
            connection.execute(
                "INSERT INTO tenants_tenant (name, shard_id, isolation, namespace, role, epoch,"
                " state, state_before_deletion, created_at, updated_at)"
                " SELECT 'customer-' || n, shard_id, isolation, 't_' || n, 't_' || n, 1, state,"
                " state_before_deletion, created_at, updated_at"
                " FROM (SELECT * FROM tenants_tenant LIMIT 1) one, generate_series(1, %s) n",
                [self.tenants],
            )
        settings = world.plain_settings(spec, registry)
        result = Result(self.number, self.title, {spec.name: []})
        first: list[float] = []
        memory: list[float] = []
        first_lookup: list[float] = []
        for _ in range(rounds):
            with Candidate(spec, settings, [], Variant()) as candidate:
                answer = candidate.ask(do="resolve", lookups=_LOOKUPS, customers=self.tenants)
            result.rounds[spec.name].append(answer["durations"])
            first_lookup.append(answer["first_lookup"])
            first.append(answer["first_seconds"])
            memory.append(answer["bytes"] / 1024 / 1024)
        result.checks += [
            Check("a lookup", result.medians(spec.name), most=1.0, unit="µs"),
            Check("a tenant's first lookup", first_lookup, unit="µs"),
            Check("memory of all routes", memory, most=150.0, unit="MB"),
            Check("loading the first 10,000", first, most=0.5, unit="s"),
        ]
        return result
