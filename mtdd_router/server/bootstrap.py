"""The shard's own schema ``mtdd``: which tenants live here, at which epoch, in which state.

Invariants: tenants' roles have no right to it. It is versioned by numbered
scripts; each runs once, in order, in one transaction with the version's
update. Any number of workers may start at once.
"""

from typing import Final
from uuid import UUID

from psycopg import sql

from mtdd_router.errors import ConfigurationError
from mtdd_router.server.control import AsyncConnection
from mtdd_router.server.logs import get_logger
from mtdd_router.server.migration_states import MIGRATION_STATES_FUNCTION
from mtdd_router.server.schema_facts import FINGERPRINTS_FUNCTION

__all__ = ["PLACEMENT_CHANNEL", "bootstrap"]

PLACEMENT_CHANNEL: Final = "mtdd_placement"
# Any number will do, as long as nobody else takes it: "mtdd" in ASCII.
_LOCK: Final = 0x6D746464

# A notification carries the placement's number, not the tenant's name: every
# role of a database may listen to every channel.
_SCRIPTS: Final = (
    """
    REVOKE ALL ON SCHEMA mtdd FROM PUBLIC;

    CREATE TABLE mtdd.shard (
        only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
        shard_id uuid NOT NULL DEFAULT pg_catalog.gen_random_uuid(),
        version integer NOT NULL
    );
    INSERT INTO mtdd.shard (version) VALUES (0);

    CREATE TABLE mtdd.placement (
        tenant text PRIMARY KEY,
        id bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
        isolation text NOT NULL CHECK (isolation IN ('schema', 'database')),
        namespace text NOT NULL UNIQUE,
        role text NOT NULL UNIQUE,
        epoch bigint NOT NULL CHECK (epoch > 0),
        state text NOT NULL CHECK (state IN ('creating', 'active', 'frozen', 'deleting')),
        changed_at timestamptz NOT NULL DEFAULT pg_catalog.now()
    );

    CREATE FUNCTION mtdd.placement_changed() RETURNS trigger
    LANGUAGE plpgsql SET search_path = '' AS $body$
    BEGIN
        PERFORM pg_catalog.pg_notify('mtdd_placement', coalesce(new.id, old.id)::text);
        RETURN NULL;
    END
    $body$;
    REVOKE ALL ON FUNCTION mtdd.placement_changed() FROM PUBLIC;

    CREATE TRIGGER placement_changed AFTER INSERT OR UPDATE OR DELETE ON mtdd.placement
    FOR EACH ROW EXECUTE FUNCTION mtdd.placement_changed();

    CREATE FUNCTION mtdd.placements_emptied() RETURNS trigger
    LANGUAGE plpgsql SET search_path = '' AS $body$
    BEGIN
        PERFORM pg_catalog.pg_notify('mtdd_placement', '');
        RETURN NULL;
    END
    $body$;
    REVOKE ALL ON FUNCTION mtdd.placements_emptied() FROM PUBLIC;

    CREATE TRIGGER placements_emptied AFTER TRUNCATE ON mtdd.placement
    FOR EACH STATEMENT EXECUTE FUNCTION mtdd.placements_emptied();
    """,
    # A tenant's tables may be read by its own role alone. What is not a plain table, or
    # has policies, might run the tenant's code, which could leave the role.
    """
    CREATE FUNCTION mtdd.applied_migrations(tenants text[])
    RETURNS TABLE (tenant text, applied text[])
    LANGUAGE plpgsql AS $body$
    DECLARE
        found record;
    BEGIN
        FOR found IN
            SELECT p.tenant, p.role, p.namespace
              FROM mtdd.placement p
              JOIN pg_catalog.pg_namespace n ON n.nspname = p.namespace
              JOIN pg_catalog.pg_class c
                ON c.relnamespace = n.oid AND c.relname = 'django_migrations'
             WHERE p.tenant = ANY (tenants) AND p.isolation = 'schema'
               AND c.relkind = 'r' AND NOT c.relrowsecurity
        LOOP
            PERFORM pg_catalog.set_config('role', found.role, true);
            RETURN QUERY EXECUTE pg_catalog.format(
                'SELECT %L::text, pg_catalog.array_agg(app || ''.'' || name)'
                ' FROM %I.django_migrations',
                found.tenant, found.namespace
            );
        END LOOP;
        PERFORM pg_catalog.set_config('role', 'none', true);
    END
    $body$;
    REVOKE ALL ON FUNCTION mtdd.applied_migrations(text[]) FROM PUBLIC;

    CREATE TABLE mtdd.script_progress (
        namespace text REFERENCES mtdd.placement (namespace) ON DELETE CASCADE,
        script text,
        statements integer NOT NULL,
        PRIMARY KEY (namespace, script)
    );
    """,
    """
    ALTER TABLE mtdd.placement
        DROP CONSTRAINT placement_state_check,
        ADD CONSTRAINT placement_state_check
        CHECK (state IN ('creating', 'active', 'frozen', 'deleted', 'deleting'));
    """,
    "DROP FUNCTION mtdd.applied_migrations(text[])",
    # What the passwords of tenants that log in themselves are made of.
    """
    ALTER TABLE mtdd.placement
        DROP CONSTRAINT placement_isolation_check,
        ADD CONSTRAINT placement_isolation_check
        CHECK (isolation IN ('schema', 'database', 'strict'));

    ALTER TABLE mtdd.shard ADD COLUMN login_secret bytea NOT NULL DEFAULT pg_catalog.sha256(
        pg_catalog.uuid_send(pg_catalog.gen_random_uuid())
        || pg_catalog.uuid_send(pg_catalog.gen_random_uuid())
        || pg_catalog.uuid_send(pg_catalog.gen_random_uuid())
    );
    """,
    """
    CREATE TABLE mtdd.spare_role (role text PRIMARY KEY, login boolean NOT NULL);
    CREATE TABLE mtdd.role_maker (role text PRIMARY KEY);
    """,
    # The functions of this script and the next may be there, from earlier versions.
    f"""
    ALTER TABLE mtdd.spare_role ADD COLUMN usable boolean NOT NULL DEFAULT true;
    ALTER TABLE mtdd.spare_role ALTER COLUMN usable SET DEFAULT false,
        ADD COLUMN made_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp();

    CREATE TABLE mtdd.retired_role (role text PRIMARY KEY);

    {MIGRATION_STATES_FUNCTION}
    """,
    FINGERPRINTS_FUNCTION,
    """
    CREATE TABLE mtdd.spare_schema (
        name text PRIMARY KEY,
        role text NOT NULL UNIQUE,
        script bytea NOT NULL,
        locked text NOT NULL,
        made_at timestamptz NOT NULL DEFAULT pg_catalog.clock_timestamp()
    );
    """,
)

log = get_logger(__name__)


async def bootstrap(connection: AsyncConnection, extension_schema: str) -> UUID:
    """Make what a shard needs in its database, and return the shard's id.

    Raises:
        ConfigurationError: if a newer django-mtdd made the schema.
        psycopg.Error: if PostgreSQL refuses something.
    """
    async with connection.transaction():
        await connection.execute("SELECT pg_catalog.pg_advisory_xact_lock(%s)", [_LOCK])
        await _run_scripts(connection)
        await _make_extension_schema(connection, extension_schema)
        await _close_public_schema(connection)
        cursor = await connection.execute("SELECT shard_id FROM mtdd.shard")
        row = await cursor.fetchone()
    assert row is not None
    shard_id = row[0]
    assert isinstance(shard_id, UUID)
    return shard_id


async def _run_scripts(connection: AsyncConnection) -> None:
    version = 0
    cursor = await connection.execute("SELECT pg_catalog.to_regclass('mtdd.shard') IS NOT NULL")
    if await cursor.fetchone() == (True,):
        cursor = await connection.execute("SELECT version FROM mtdd.shard")
        row = await cursor.fetchone()
        version = row[0] if row is not None else 0
    if version > len(_SCRIPTS):
        raise ConfigurationError(
            f"dsn: schema mtdd has version {version}, this server knows {len(_SCRIPTS)}: "
            "a newer django-mtdd made it; upgrade this server"
        )
    if version == len(_SCRIPTS):
        return
    # IF NOT EXISTS would still need the right to create one.
    cursor = await connection.execute("SELECT pg_catalog.to_regnamespace('mtdd') IS NULL")
    if await cursor.fetchone() == (True,):
        await connection.execute("CREATE SCHEMA mtdd")
    for number, script in enumerate(_SCRIPTS[version:], start=version + 1):
        await connection.execute(script.encode())
        await connection.execute("UPDATE mtdd.shard SET version = %s", [number])
        log.info("schema_upgraded", version=number)


async def _make_extension_schema(connection: AsyncConnection, name: str) -> None:
    cursor = await connection.execute("SELECT pg_catalog.to_regnamespace(%s) IS NULL", [name])
    if await cursor.fetchone() == (True,):
        await connection.execute(sql.SQL("CREATE SCHEMA {}").format(sql.Identifier(name)))
    cursor = await connection.execute(
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace n,"
        " LATERAL pg_catalog.aclexplode(n.nspacl) a"
        " WHERE n.nspname = %s AND a.grantee = 0 AND a.privilege_type = 'USAGE')",
        [name],
    )
    if await cursor.fetchone() == (False,):
        await connection.execute(
            sql.SQL("GRANT USAGE ON SCHEMA {} TO PUBLIC").format(sql.Identifier(name))
        )


async def _close_public_schema(connection: AsyncConnection) -> None:
    """Take from everybody the right to create in public, which old clusters still give."""
    query = (
        "SELECT EXISTS (SELECT FROM pg_catalog.pg_namespace n,"
        " LATERAL pg_catalog.aclexplode(n.nspacl) a"
        " WHERE n.nspname = 'public' AND a.grantee = 0 AND a.privilege_type = 'CREATE')"
    )
    cursor = await connection.execute(query)
    if await cursor.fetchone() == (False,):
        return
    cursor = await connection.execute(
        "SELECT pg_catalog.pg_has_role(nspowner, 'USAGE') FROM pg_catalog.pg_namespace"
        " WHERE nspname = 'public'"
    )
    if await cursor.fetchone() == (True,):
        await connection.execute("REVOKE CREATE ON SCHEMA public FROM PUBLIC")
    else:
        log.warning(
            "public_schema_is_open",
            advice="as its owner, run: REVOKE CREATE ON SCHEMA public FROM PUBLIC;",
        )
