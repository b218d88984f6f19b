"""Restoring and cloning that die half way: kill -9 of the command, and the repair afterwards."""

import itertools
import signal
import time

import psycopg
import pytest
from django.contrib.auth.models import User

from tenants import services
from tests.integration.tenants.conftest import kill, names, repair_everything, works
from tests.integration.tenants.rich_contents import execute, rows
from tests.integration.tenants.test_migrating_faults import command

# Restoring them, with their index, takes a while.
_ROWS = """
CREATE TABLE heavy (id int PRIMARY KEY, text text UNIQUE);
INSERT INTO heavy SELECT n, md5(n::text) FROM generate_series(1, 150000) n;
"""


def wait_until_rows_move(process, dsn):
    """Wait until the shard of *dsn* is at work on the table `heavy`, in a transaction."""
    with psycopg.connect(dsn, autocommit=True) as connection:
        query = (
            "SELECT FROM pg_stat_activity WHERE query LIKE '%.heavy%' AND xact_start IS NOT NULL"
            " AND pid <> pg_backend_pid()"
        )
        while not connection.execute(query).rowcount:
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)


@pytest.fixture
def abc(tenant_factory):
    tenant_factory("abc", shard="shard1")
    execute("abc", _ROWS)
    User.objects.using("abc").create(username="somebody")


def test_a_restore_that_dies_anywhere_leaves_a_whole_tenant_or_none(
    tenant_factory, dying, placements, tmp_path
):
    tenant_factory("abc", shard="shard1")
    before = rows("abc")
    services.archive_tenant("abc", tmp_path / "file")
    outcomes = set()
    for step in itertools.count(1):
        with dying.at(step):
            services.restore_tenant(tmp_path / "file", name="xyz", shard="shard1")
        repair_everything()
        assert set(placements()) == names()
        outcomes.add(len(names()))
        if "xyz" in names():
            assert rows("xyz") == before
            services.purge_tenant("xyz")
        if not dying.died:
            break
    assert outcomes == {1, 2}


@pytest.mark.parametrize("command_line", [["clone_tenant", "abc"], ["restore_tenant", "FILE"]])
def test_control_c_leaves_nothing(abc, placements, tmp_path, command_line, shard_postgres_dsns):
    path = tmp_path / "abc.dump"
    services.archive_tenant("abc", path)
    name = "xyz" if command_line[1] == "abc" else "--name=xyz"
    arguments = (str(path) if word == "FILE" else word for word in command_line)
    process = command(*arguments, name, "--shard=shard1")
    wait_until_rows_move(process, shard_postgres_dsns["shard1"])
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode != 0
    assert names() == {"abc"} == set(placements())
    assert works("abc")


def test_a_killed_archiving_leaves_its_tenant_usable(abc, tmp_path):
    path = tmp_path / "abc.dump"
    process = command("archive_tenant", "abc", f"--to={path}")
    while not list(tmp_path.glob("*.partial")):
        assert process.poll() is None, process.communicate()
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert not path.exists()
    execute("abc", "ALTER TABLE heavy ADD COLUMN more int")
    repair_everything()
    services.archive_tenant("abc", path)
    assert list(tmp_path.iterdir()) == [path]


def test_a_shard_that_dies_leaves_nothing_of_a_restored_tenant(spare_shard, spare_server, tmp_path):
    services.create_tenant("abc")
    execute("abc", _ROWS)
    services.archive_tenant("abc", tmp_path / "file")
    process = command("restore_tenant", str(tmp_path / "file"), "--name=xyz")
    wait_until_rows_move(process, spare_server.dsn)
    kill(spare_server)
    _, error = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "check_shards --repair" in error
    spare_server.start()
    spare_server.wait_ready()
    repair_everything()
    assert names() == {"abc"}
    assert works("abc")
