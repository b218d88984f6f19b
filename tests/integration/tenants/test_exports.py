"""Exports of tenants: SQL that psql runs, CSV that COPY reads."""

import csv
import shutil
import subprocess

import psycopg
import pytest
from django.contrib.auth.models import User
from django.db import connections
from psycopg import sql
from psycopg.conninfo import make_conninfo

from mtdd_router.types import Isolation
from tenants import services
from tenants.errors import PathNotWritable
from tests.integration.tenants.conftest import run, run_json
from tests.integration.tenants.rich_contents import ISOLATIONS, execute, fill, rows


@pytest.fixture
def two_tenants(tenant_factory):
    """Two tenants on one shard; abc has contents."""

    def make(isolation):
        other = tenant_factory("xyz", shard="shard1", isolation=isolation)
        User.objects.using("xyz").create(username="secret-of-xyz")
        one = tenant_factory("abc", shard="shard1", isolation=isolation)
        fill("abc")
        return one, other

    return make


@pytest.mark.skipif(shutil.which("psql") is None, reason="psql is not installed")
@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_exported_sql_makes_the_same_tables_elsewhere(
    two_tenants, tmp_path, empty_database_dsn, isolation
):
    one, other = two_tenants(isolation)
    services.export_sql("abc", tmp_path / "abc.sql")
    script = (tmp_path / "abc.sql").read_text()
    for word in ("xyz", other.namespace, "mtdd_shard", "mtdd:"):
        assert word not in script
    schema, role = one.namespace, "none"
    if isolation is Isolation.DATABASE:
        # The owner of that database inherits no rights on PostgreSQL 15.
        schema, role = "public", "pg_database_owner"
    dsn = make_conninfo(empty_database_dsn, options=f"-c role={role}")
    done = subprocess.run(
        ["psql", "-v", "ON_ERROR_STOP=1", "-q", "-f", tmp_path / "abc.sql", dsn],
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    with psycopg.connect(dsn) as elsewhere:
        elsewhere.execute(sql.SQL("SET search_path = {}").format(sql.Identifier(schema)))
        for table, contents in rows("abc").items():
            if "(sequence)" not in table:
                query = f"SELECT t::text FROM {table} t"
                assert sorted(row[0] for row in elsewhere.execute(query)) == contents
        assert elsewhere.execute("SELECT nextval('work_id_seq')").fetchone() == (5,)


@pytest.mark.parametrize("isolation", ISOLATIONS)
def test_exported_csv_is_read_back_by_copy(two_tenants, tmp_path, isolation):
    two_tenants(isolation)
    counts = services.export_csv("abc", tmp_path / "abc")
    files = {path.name: path for path in (tmp_path / "abc").iterdir()}
    assert set(files) == set(counts)
    assert (tmp_path / "abc").stat().st_mode & 0o077 == 0
    odd = "Odd %22name%22, %C3%BC%2F...csv"
    assert {"author.csv", "work.csv", "event_2025.csv", "auth_user.csv", odd} <= set(files)
    assert counts["work.csv"] == 4
    assert not any(b"secret-of-xyz" in path.read_bytes() for path in files.values())
    with files["author.csv"].open(newline="") as file:
        read = list(csv.reader(file))
    assert read[0] == ["id", "name", "mood", "favourite"]
    assert ["3", "new\nline\ttab", "glad", ""] in read
    for name in ("work", '"Odd ""name"", ü/.."', "auth_user"):
        file = files[odd if "Odd" in name else f"{name}.csv"]
        with file.open(newline="") as lines:
            columns = sql.SQL(", ").join(map(sql.Identifier, next(csv.reader(lines))))
        execute("abc", f"CREATE TABLE back (LIKE {name} INCLUDING GENERATED)")
        statement = sql.SQL("COPY back ({}) FROM STDIN WITH (FORMAT csv, HEADER)").format(columns)
        with connections["abc"].cursor() as cursor, cursor.copy(statement) as copy:
            copy.write(file.read_bytes())
        assert rows("abc")["back"] == rows("abc")[name]
        execute("abc", "DROP TABLE back")


def test_the_commands_write_what_is_not_there_yet(tenant_factory, tmp_path):
    tenant_factory("abc")
    User.objects.using("abc").create(username="somebody")
    path, folder = tmp_path / "abc.sql", tmp_path / "abc"
    assert f"Exported tenant abc to {path}: SQL." in run("export_tenant", "abc", f"--to={path}")
    printed = run("export_tenant", "abc", f"--to={folder}", "--format=csv")
    assert "rows in " in printed
    data = run_json("export_tenant", "abc", f"--to={folder}2", "--format=csv")
    assert data["rows"]["auth_user.csv"] == 1
    assert run_json("export_tenant", "abc", f"--to={path}2")["size_bytes"] > 1000
    for export, taken in ((services.export_sql, path), (services.export_csv, folder)):
        with pytest.raises(PathNotWritable, match="is there already"):
            export("abc", taken)
        with pytest.raises(PathNotWritable, match="cannot be written: No such file"):
            export("abc", tmp_path / "nowhere" / "file")
    assert not list(tmp_path.glob("*.partial"))
