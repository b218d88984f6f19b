"""Tenant a attacks tenant b with all of the corpus, and nothing of b is read or changed."""

import contextlib
import dataclasses
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from mtdd_router import dbapi
from mtdd_router.client.admin import ShardAdmin
from mtdd_router.client.endpoint import Endpoint
from mtdd_router.client.location import Location
from mtdd_router.embedded import Stack, administrator_dsns
from mtdd_router.types import Isolation, Placement, TenantState
from tests.attacks.corpus import FAMILIES, READ, Attack, Family
from tests.databases import drop_database
from tests.integration.server.logins import login_dsn
from tests.integration.server.test_tenant_sessions import Fixed

SECRET = "secret-of-b"
# Strict isolation, and a server that examines no statement.
UNGUARDED = "unguarded"
# Looking at all that is b's takes longer than an attack; each change of a row would show later.
LOOKS_EVERY = 8
BY_NAME = {family.name: family for family in FAMILIES}
CHANGES = re.compile(
    "CREATE|DROP|ALTER|INSERT|UPDATE|DELETE|TRUNCATE|MERGE|COPY|INTO|DISCARD", re.IGNORECASE
)
COPIES = re.compile(r"COPY .* TO STDOUT$", re.DOTALL)
# What the next tenant would notice of the one before.
STATE = """
    SELECT current_user::text, current_setting('search_path'),
           (SELECT array_agg(name || '=' || setting ORDER BY name) FROM pg_settings
            WHERE source = 'session' AND name NOT IN ('role', 'search_path')),
           (SELECT array_agg(name ORDER BY name) FROM pg_prepared_statements),
           (SELECT array_agg(name ORDER BY name) FROM pg_cursors WHERE is_holdable),
           (SELECT array_agg(c ORDER BY c) FROM pg_listening_channels() AS c),
           (SELECT count(*) FROM pg_class WHERE relnamespace = pg_my_temp_schema()),
           (SELECT count(*) FROM pg_type WHERE typnamespace = pg_my_temp_schema()),
           (SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND pid = pg_backend_pid())
"""
# What only operators may change: roles, memberships, settings, grants, the placements.
RIGHTS = """
    SELECT (SELECT array_agg(r::text ORDER BY r::text) FROM pg_roles r),
           (SELECT array_agg(m::text ORDER BY m::text) FROM pg_auth_members m),
           (SELECT array_agg(s::text ORDER BY s::text) FROM pg_db_role_setting s),
           (SELECT array_agg(d::text ORDER BY d::text) FROM pg_default_acl d),
           (SELECT array_agg(d.datname ORDER BY 1) FROM pg_database d),
           (SELECT array_agg((n.nspname, n.nspowner, n.nspacl)::text ORDER BY n.nspname)
            FROM pg_namespace n WHERE n.nspname !~ '^pg_(toast_)?temp'),
           (SELECT array_agg((c.relname, c.relowner, c.relacl, c.relkind)::text ORDER BY c.oid)
            FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
            WHERE n.nspname IN ('mtdd', 'extensions')),
           (SELECT array_agg(p::text ORDER BY p::text) FROM mtdd.placement p)
"""


@dataclass
class Site:
    """A shard with tenants a and b, b's secret, and what is really there.

    The superuser looks at it, *beside* the tenants and *inside* b's database. Where
    statements are not *examined*, PostgreSQL alone keeps a from b.
    """

    stack: Stack
    a: Placement
    b: Placement
    dsn_b: str
    file: Path
    beside: psycopg.Connection[Any]
    inside: psycopg.Connection[Any]
    address: str
    examined: bool = True
    large: int = 0

    @property
    def database(self) -> str:
        """The database that b is in."""
        return str(conninfo_to_dict(self.dsn_b)["dbname"])

    @property
    def written(self) -> Path:
        """A file that attacks try to write."""
        return self.file.with_suffix(".written")

    def connect(self, tenant: str) -> Any:
        location = Location(Endpoint(self.address, "only"), tenant, 1)
        # As Django does; without, a switch is not in one Query with the statement.
        settings = {"TimeZone": "UTC"}
        return dbapi.connect(Fixed(location), database=tenant, autocommit=True, settings=settings)

    def filled(self, statement: str, pid: int = 0) -> str:
        """Return the statement with the names of this site."""
        names = {
            "a": self.a.namespace,
            "b": self.b.namespace,
            "role_a": self.a.role,
            "role_b": self.b.role,
            "login": "mtdd_shard",
            "database": self.database,
            "file": str(self.file),
            "written": str(self.written),
            "large": str(self.large),
            "pid_b": str(pid),
        }
        for name, value in names.items():
            statement = statement.replace("{" + name + "}", value)
        return statement

    def of_b(self) -> Any:
        """Return b's tables and rows, as the superuser sees them."""
        schema = self.b.namespace if self.b.isolation.has_schema else "public"
        relations = """
            SELECT c.relname, c.relowner, c.relacl::text, c.relkind, obj_description(c.oid)
            FROM pg_class c WHERE c.relnamespace = %s::regnamespace ORDER BY 1"""
        quoted = sql.Identifier(schema)
        rows = sql.SQL("SELECT *, xmin::text FROM {}.secret").format(quoted)
        return (
            self.inside.execute(rows).fetchall(),
            self.inside.execute(relations, [quoted.as_string()]).fetchall(),
            self.inside.execute("SELECT l.loid, l.data FROM pg_largeobject l").fetchall(),
        )

    def rights(self) -> Any:
        """Return what only operators may change."""
        if not self.examined:
            # What a role may do to itself, and to what it owns.
            self.beside.execute(
                sql.SQL(
                    "ALTER ROLE {role} RESET ALL; SET ROLE {role};"
                    " ALTER DEFAULT PRIVILEGES REVOKE ALL ON TABLES FROM PUBLIC; RESET ROLE"
                ).format(role=sql.Identifier(self.a.role))
            )
        return self.beside.execute(RIGHTS).fetchone()


@pytest.fixture(scope="module", params=[*Isolation, UNGUARDED])
def site(request: pytest.FixtureRequest, attacked: Stack) -> Iterator[Site]:
    stack = attacked
    admin = ShardAdmin(stack.shard_servers[0].address, shard="only")
    address, isolation = stack.shard_servers[0].address, request.param
    if request.param == UNGUARDED:
        address, isolation = request.getfixturevalue("unguarded").address, Isolation.STRICT
    placements = []
    for name in ("a", "b"):
        namespace = f"t_{name}_{secrets.token_hex(4)}"
        wanted = Placement(name, isolation, namespace, namespace, 1, TenantState.ACTIVE)
        placements.append(admin.create_namespace(wanted))
    a, b = placements
    shard = administrator_dsns(stack.folder)["shard1"]
    dsn_b = shard
    if b.isolation is Isolation.DATABASE:
        dsn_b = make_conninfo(shard, dbname=b.namespace)
    file = stack.folder.parent / "secret.txt"
    file.write_text(SECRET)
    file.chmod(0o644)
    with (
        psycopg.connect(shard, autocommit=True) as beside,
        psycopg.connect(dsn_b, autocommit=True) as inside,
    ):
        found = Site(stack, a, b, dsn_b, file, beside, inside, address, request.param != UNGUARDED)
        for name, word in (("a", "of a"), ("b", SECRET)):
            with contextlib.closing(found.connect(name)) as connection:
                connection.execute("CREATE TABLE secret (id serial PRIMARY KEY, word text UNIQUE)")
                connection.execute("INSERT INTO secret (word) VALUES (%s)", [word])
                large = connection.execute("SELECT lo_from_bytea(0, %s)", [word.encode()])
                (found.large,) = large.fetchone()
        yield found
    for name in ("a", "b"):
        admin.drop_namespace(name)


def send(connection: Any, statement: str) -> list[Any]:
    """Run a statement, and return all that comes back, errors included."""
    answers: list[Any] = []
    try:
        cursor = connection.cursor()
        if COPIES.match(statement):
            with cursor.copy(statement) as copy:
                return [bytes(part) for part in copy]
        cursor.execute(statement)
        while True:
            if cursor.description:
                answers += cursor.fetchall()
            if not cursor.nextset():
                return answers
    except psycopg.Error as exc:
        return [*answers, str(exc), exc.diag.message_detail]


def notified(connection: Any) -> list[str]:
    with contextlib.suppress(psycopg.Error):
        return [each.payload for each in connection.notifies(timeout=0.1)]
    return []


@pytest.mark.parametrize("name", BY_NAME)
def test_no_attack_reads_or_changes_anything_of_another_tenant(site: Site, name: str) -> None:
    before, rights = site.of_b(), site.rights()
    clean = {tenant: state_of(site.connect(tenant)) for tenant in ("a", "b")}
    # Nobody else is ever given a connection to a's own database, or one that is logged in as a.
    meets = ("b", "a") if site.b.isolation is Isolation.SCHEMA else ("a",)
    if not site.examined:
        # What a leaves to itself, as a password or a setting of its role's, is its own affair.
        meets = ()
    attacks, tried = BY_NAME[name].attacks, list[Attack]()
    with at_work(site) as b:
        pid = b.info.backend_pid
        for attack in attacks:
            attacker = site.connect("a")
            with contextlib.closing(attacker):
                answers = [send(attacker, site.filled(statement, pid)) for statement in attack]
                if "LISTEN" in attack[0]:
                    b.execute(f"NOTIFY news, '{SECRET}'")
                    answers.append(notified(attacker))
            assert SECRET not in str(answers), attack
            for tenant in meets:
                assert state_of(site.connect(tenant)) == clean[tenant], attack
            tried.append(attack)
            if len(tried) == LOOKS_EVERY or attack is attacks[-1]:
                assert site.of_b() == before, tried
                assert site.rights() == rights, tried
                assert not site.written.exists(), tried
                tried.clear()
            if not site.examined:
                restore_all(site)
            elif CHANGES.search(" ".join(attack)):
                restore(site)
    assert state_of(site.connect("b")) == clean["b"]


@pytest.mark.parametrize("site", [UNGUARDED], indirect=True)
def test_where_nothing_is_examined_the_role_alone_keeps_the_tenant_in(site: Site) -> None:
    statements = (f'SET ROLE "{site.b.role}"', READ)
    with contextlib.closing(site.connect("a")) as connection:
        # What a guard would refuse.
        assert send(connection, "DO $$ BEGIN RESET ROLE; END $$") == []
        assert "permission denied" in str(send(connection, site.filled(statements[0])))
    with superuser_grant(site):
        with contextlib.closing(site.connect("a")) as connection:
            answers = [send(connection, site.filled(statement)) for statement in statements]
        assert SECRET in str(answers), "the attack would not show a leak"
    with contextlib.closing(site.connect("a")) as connection:
        answers = [send(connection, site.filled(statement)) for statement in statements]
        assert SECRET not in str(answers)


@contextlib.contextmanager
def superuser_grant(site: Site) -> Iterator[None]:
    """Let a be a member of b, for as long as the block."""
    roles = {"a": sql.Identifier(site.a.role), "b": sql.Identifier(site.b.role)}
    site.beside.execute(sql.SQL("GRANT {b} TO {a}").format(**roles))
    yield
    site.beside.execute(sql.SQL("REVOKE {b} FROM {a}").format(**roles))


@pytest.mark.parametrize("site", [UNGUARDED], indirect=True)
def test_a_server_without_that_guard_still_examines_all_other_tenants(site: Site) -> None:
    admin = ShardAdmin(site.address, shard="only")
    namespace = f"t_c_{secrets.token_hex(4)}"
    for isolation in set(Isolation) - {Isolation.STRICT}:
        admin.create_namespace(
            Placement("c", isolation, namespace, namespace, 1, TenantState.ACTIVE)
        )
        with contextlib.closing(site.connect("c")) as connection:
            assert "was refused" in str(send(connection, "RESET ROLE"))
        admin.drop_namespace("c")


def state_of(connection: Any) -> Any:
    """Return what a tenant finds when it comes."""
    with contextlib.closing(connection):
        return connection.execute(STATE).fetchone()


def restore(site: Site) -> None:
    """Let a have its table again, and nothing else: it may do as it likes with its own."""
    with contextlib.closing(site.connect("a")) as connection:
        for statement in (
            "DROP TABLE IF EXISTS own CASCADE",
            "DROP VIEW IF EXISTS own CASCADE",
            "DROP MATERIALIZED VIEW IF EXISTS own",
            "DROP DOMAIN IF EXISTS own CASCADE",
            "DROP TABLE IF EXISTS secret CASCADE",
            "CREATE TABLE secret (id serial PRIMARY KEY, word text UNIQUE)",
            "INSERT INTO secret (word) VALUES ('of a')",
        ):
            send(connection, statement)


def restore_all(site: Site) -> None:
    """Let a have nothing but its table, whatever it has made, as the superuser."""
    site.beside.execute(
        sql.SQL(
            "DROP SCHEMA {schema} CASCADE; CREATE SCHEMA {schema} AUTHORIZATION {role};"
            " SET ROLE {role};"
            " CREATE TABLE {schema}.secret (id serial PRIMARY KEY, word text UNIQUE);"
            " INSERT INTO {schema}.secret (word) VALUES ('of a'); RESET ROLE"
        ).format(schema=sql.Identifier(site.a.namespace), role=sql.Identifier(site.a.role))
    )


@contextlib.contextmanager
def at_work(site: Site) -> Iterator[psycopg.Connection[Any]]:
    """Let b be at work in a session of another worker's; it must survive."""
    dsn = make_conninfo(site.stack.shard_servers[0].dsn, dbname=site.database)
    if site.b.isolation is Isolation.STRICT:
        dsn = login_dsn(dsn, site.b.role)
    with psycopg.connect(dsn, autocommit=True, application_name="mtdd_shard") as connection:
        connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(site.b.role)))
        connection.execute(f"SELECT '{SECRET}'")
        yield connection
        assert connection.execute("SELECT 1").fetchone() == (1,)


# Controls: what happens where nothing guards


@dataclass
class Unguarded:
    """A pooler that only sets a role, or only a path, and logs in as a superuser."""

    site: Site
    family: Family

    @property
    def dsn(self) -> str:
        return self.site.dsn_b

    def connect(self) -> Any:
        connection = psycopg.connect(self.dsn, autocommit=True)
        connection.execute(
            "PREPARE mtdd_switch (text, text, text) AS SELECT set_config('role', $1, false),"
            " set_config('search_path', $2, false), set_config('TimeZone', $3, false)"
        )
        return connection

    def switch(self, connection: Any, tenant: Placement) -> None:
        if self.family.unguarded == "role":
            connection.execute(f'SET ROLE "{tenant.role}"')
        connection.execute(f'SET search_path = "{tenant.namespace}"')

    def state(self, connection: Any) -> Any:
        self.switch(connection, self.site.b)
        return (
            connection.execute(STATE).fetchone(),
            connection.execute("SELECT word FROM secret").fetchall(),
        )

    def rights(self) -> Any:
        with psycopg.connect(self.dsn, autocommit=True) as connection:
            return connection.execute(RIGHTS).fetchone()

    def succeeds(self, attack: Attack) -> bool:
        """Tell whether the attack reads or changes what is not a's."""
        rights = self.rights()
        with contextlib.closing(self.connect()) as connection:
            clean = self.state(connection)
        with (
            contextlib.closing(self.connect()) as connection,
            psycopg.connect(self.dsn, autocommit=True) as of_b,
        ):
            of_b.execute(f"SELECT '{SECRET}'")
            self.switch(connection, self.site.a)
            answers = [send(connection, self.site.filled(statement)) for statement in attack]
            if SECRET in str(answers):
                return True
            try:
                return bool(self.state(connection) != clean or self.rights() != rights)
            except psycopg.Error:
                return True


@pytest.fixture
def naive(site: Site) -> Iterator[Site]:
    """A database with two tenants of its own, and placements, as a naive pooler has them."""
    token = secrets.token_hex(4)
    administrator = administrator_dsns(site.stack.folder)["shard1"]
    dsn = make_conninfo(administrator, dbname=f"naive_{token}")
    a, b = (
        dataclasses.replace(
            of, namespace=f"naive_{of.tenant}_{token}", role=f"naive_{of.tenant}_{token}"
        )
        for of in (site.a, site.b)
    )
    with psycopg.connect(administrator, autocommit=True) as connection:
        connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(f"naive_{token}")))
    with psycopg.connect(dsn, autocommit=True) as connection:
        connection.execute("CREATE SCHEMA mtdd; CREATE TABLE mtdd.placement (tenant text)")
        for tenant, word in ((a, "of a"), (b, SECRET)):
            connection.execute(f"""
                CREATE ROLE "{tenant.role}";
                CREATE SCHEMA "{tenant.namespace}" AUTHORIZATION "{tenant.role}";
                SET ROLE "{tenant.role}";
                CREATE TABLE "{tenant.namespace}".secret (id serial PRIMARY KEY, word text UNIQUE);
                INSERT INTO "{tenant.namespace}".secret (word) VALUES ('{word}');
                RESET ROLE""")
    yield dataclasses.replace(site, a=a, b=b, dsn_b=dsn)
    with psycopg.connect(administrator, autocommit=True) as connection:
        drop_database(connection, f"naive_{token}")
        connection.execute(f'DROP ROLE "{a.role}", "{b.role}"')


@pytest.mark.parametrize("site", [Isolation.SCHEMA], indirect=True)
@pytest.mark.parametrize("name", BY_NAME)
def test_where_nothing_guards_the_family_succeeds(naive: Site, name: str) -> None:
    family = BY_NAME[name]
    pooler = Unguarded(naive, family)
    if family.unguarded == "role":
        assert not pooler.succeeds((READ,)), "the role guards nothing"
    assert any(map(pooler.succeeds, family.attacks)), family.how


def test_the_corpus_is_as_large_as_it_says() -> None:
    assert len(FAMILIES) >= 12
    attacks = [attack for family in FAMILIES for attack in family.attacks]
    assert len(set(attacks)) == len(attacks) >= 400
