"""What Django finds out about a tenant's tables."""

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connections, transaction
from django.db.backends.postgresql import introspection as postgresql

from mtdd_router.types import Isolation
from tenants.models import Tenant


@pytest.mark.parametrize("isolation", list(Isolation))
def test_the_tables_are_those_that_djangos_own_query_finds(
    tenant_factory: Callable[..., Tenant], isolation: Isolation
) -> None:
    tenant_factory("abc", isolation=isolation)
    tenant_factory("xyz")
    connection = connections["abc"]
    with transaction.atomic(using="xyz"), connections["xyz"].cursor() as cursor:
        cursor.execute("CREATE TABLE theirs (id int)")
    with transaction.atomic(using="abc"), connection.cursor() as cursor:
        cursor.execute("CREATE VIEW some_groups AS SELECT * FROM auth_group")
        cursor.execute("COMMENT ON VIEW some_groups IS 'seen'")
        cursor.execute("CREATE MATERIALIZED VIEW no_groups AS SELECT * FROM auth_group")
        cursor.execute("CREATE TABLE parts (id int) PARTITION BY RANGE (id)")
        cursor.execute("CREATE TABLE part PARTITION OF parts FOR VALUES FROM (1) TO (9)")
        cursor.execute("CREATE TEMP TABLE auth_permission (id int)")
        found = connection.introspection.get_table_list(cursor)
        theirs = postgresql.DatabaseIntrospection(connection).get_table_list(cursor)
        transaction.set_rollback(True, using="abc")

    def ordered(tables: list[Any]) -> list[Any]:
        return sorted(tables, key=lambda table: table.name)

    assert ordered(found) == ordered(theirs)
    names = {table.name: (table.type, table.comment) for table in found}
    assert names["some_groups"] == ("v", "seen")
    assert names["part"] == ("p", None)
    assert "auth_user" in names
    assert "theirs" not in names
