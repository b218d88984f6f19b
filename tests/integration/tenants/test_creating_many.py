"""Creating tenants from a list: checked as a whole, repeatable, and each failure named."""

import io
import threading

import pytest
from django.core.management import CommandError
from django.db import connections

from mtdd_router.types import Isolation
from tenants import services
from tenants import signals as tenant_signals
from tenants.errors import InvalidTenantList
from tenants.models import Tenant
from tenants.services import CreationOutcome, NewTenant
from tests.integration.tenants.conftest import (
    kill,
    names,
    repair_everything,
    run,
    run_json,
    works,
)
from tests.integration.tenants.test_migrating_faults import command


@pytest.fixture
def written(tmp_path):
    """Write a list, and return its path."""

    def write(*lines, encoding="utf-8"):
        path = tmp_path / "tenants.csv"
        path.write_text("\n".join(lines) + "\n", encoding=encoding)
        return str(path)

    return write


def test_a_list_is_read_with_spaces_quotes_empty_lines_and_a_mark(registered_shards):
    lines = ["\ufeffName , isolation,shard", '"abc", Database,"shard1"', ",,", "", "xyz ,,"]
    assert services.read_new_tenants(lines) == [
        NewTenant(2, "abc", "shard1", Isolation.DATABASE),
        NewTenant(5, "xyz"),
    ]
    assert services.read_new_tenants(["name"]) == []


@pytest.mark.parametrize(
    ("lines", "problems"),
    [
        ([], {1: "names the columns"}),
        (["abc", "xyz"], {1: "this one has 'abc'"}),
        (["name,name", "a,b"], {1: "names the columns"}),
        (["name,colour", "abc,red"], {1: "'colour'"}),
        (["name,shard", "abc"], {2: "Cells here: 1, in the header: 2"}),
        (["name", "abc,shard1"], {2: "Cells here: 2, in the header: 1"}),
        (["name", "Abc", "good", "default", "good"], {2: "lower-case", 4: "alias", 5: "line 3"}),
        (["name,shard", "a,nowhere", "b,shard1", "c,shard2"], {2: "'nowhere'", 4: "accepts no"}),
        (["name,isolation", "abc,row"], {2: "'row' is no isolation"}),
        (["name", "a\0b"], {2: "not a tenant name"}),
        (["name", "good", '"abc'], {3: "not CSV"}),
    ],
)
def test_each_wrong_line_is_named_and_nothing_is_created(registered_shards, lines, problems):
    services.edit_shard("shard2", accepts_tenants=False)
    with pytest.raises(InvalidTenantList) as caught:
        services.read_new_tenants([f"{line}\n" for line in lines])
    found = dict(caught.value.problems)
    assert found.keys() == problems.keys()
    assert all(said in found[line] for line, said in problems.items())


def test_a_file_is_created_and_may_be_run_again(registered_shards, written, placements):
    path = written("name,shard,isolation", "a,shard1,", "b,,database", "c,shard2,schema", "d,,")
    done = run_json("create_tenants", path, "--parallel=3")
    assert done["counts"] == {"created": 4, "skipped": 0, "failed": 0}
    assert [result["line"] for result in done["results"]] == [2, 3, 4, 5]
    assert placements() == {t.name: t.placement() for t in Tenant.objects.all()}
    assert services.get_tenant("a").shard.name == "shard1"
    assert services.get_tenant("b").isolation == "database"
    assert all(works(name) for name in "abcd")
    services.freeze_tenant("d")
    services.purge_tenant("b")
    assert "1 created, 3 skipped, 0 failed, 0 not begun" in run("create_tenants", path)
    assert not [t for t in threading.enumerate() if t.name.startswith("tenants")]


def test_a_list_comes_from_standard_input(registered_shards, monkeypatch):
    monkeypatch.setattr("sys.stdin", io.StringIO("name\nabc\n"))
    assert "1 created" in run("create_tenants", "-")


def test_a_file_that_cannot_be_used_is_told(registered_shards, written, tmp_path):
    with pytest.raises(CommandError, match=r"cannot be read: No such file"):
        run("create_tenants", str(tmp_path / "nothing"))
    with pytest.raises(CommandError, match=r"--parallel"):
        run("create_tenants", "-", "--parallel=0")
    path = written("name", "abc", "Abc")
    with pytest.raises(CommandError, match=r"1 line cannot be used; nothing was created"):
        run("create_tenants", path)
    error = run_json("create_tenants", path)["error"]
    assert (error["type"], error["lines"][0]["line"]) == ("InvalidTenantList", 3)
    path = written("name", "müller", encoding="latin-1")
    assert "UTF-8" in run_json("create_tenants", path)["error"]["message"]
    assert names() == set()


def test_a_line_that_fails_does_not_stop_the_others(
    registered_shards, tenant_factory, spare_server, written, placements
):
    services.register_shard("spare", spare_server.address, weight=1)
    for name in ("elsewhere", "gone"):
        tenant_factory(name, shard="shard1")
    services.delete_tenant("gone")
    path = written(
        "name,shard", "a,", "dead,spare", "elsewhere,shard2", "gone,", "b,shard1", "c,shard2"
    )
    kill(spare_server)
    failed = {
        result["tenant"]: result["error"]
        for result in run_json("create_tenants", path)["results"]
        if result["outcome"] == "failed"
    }
    assert failed.keys() == {"dead", "elsewhere", "gone"}
    assert spare_server.address in failed["dead"]
    assert "shard 'shard1'" in failed["elsewhere"]
    assert "undelete_tenant" in failed["gone"]
    assert {"a", "b", "c"} <= names()
    with pytest.raises(CommandError, match=r"3 of 6 tenants failed; run the same file again"):
        run("create_tenants", path)


def test_fail_fast_begins_no_more_and_tells_of_what_was_at_hand(registered_shards, written):
    def refuse(name, **_):
        if name == "t0":
            raise ValueError("not this one")

    path = written("name", *(f"t{number}" for number in range(8)))
    tenant_signals.pre_create.connect(refuse)
    try:
        done = run_json("create_tenants", path, "--fail-fast", "--parallel=2")
    finally:
        tenant_signals.pre_create.disconnect(refuse)
    assert done["counts"]["failed"] == 1
    assert done["not_begun"] >= 4
    created = {r["tenant"] for r in done["results"] if r["outcome"] == "created"}
    assert created == names()


def test_what_workers_and_receivers_have_opened_is_closed(registered_shards):
    opened = []

    def look(tenant, **_):
        assert works(tenant.name)
        opened.extend((connections[tenant.name], connections["default"]))

    tenant_signals.post_create.connect(look)
    try:
        services.create_tenants([NewTenant(n, f"t{n}") for n in range(4)], parallel=2)
    finally:
        tenant_signals.post_create.disconnect(look)
    assert len(opened) == 8
    assert all(wrapper.connection is None for wrapper in opened)


def test_an_interruption_finishes_what_is_at_hand(registered_shards, written, monkeypatch):
    from tenants.management.progress import CreationProgress

    def interrupt(self, result):
        raise KeyboardInterrupt

    monkeypatch.setattr(CreationProgress, "came", interrupt)
    path = written("name", *(f"t{number}" for number in range(8)))
    with pytest.raises(CommandError, match=r"Interrupted with \d tenants not begun") as caught:
        run("create_tenants", path, "--parallel=2")
    assert caught.value.returncode == 130
    monkeypatch.undo()
    assert 1 <= len(names()) <= 4
    for report in services.check_shards():
        assert (report.findings, report.busy) == ((), ())
    assert run_json("create_tenants", path)["counts"]["failed"] == 0


def test_two_who_run_the_same_list_at_once_create_each_tenant_once(registered_shards, placements):
    wanted = [NewTenant(number, f"t{number}") for number in range(2, 10)]
    barrier, results = threading.Barrier(2), []

    def create():
        try:
            barrier.wait()
            results.extend(services.create_tenants(wanted, parallel=2))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=create) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    created = [r.new.name for r in results if r.outcome is CreationOutcome.CREATED]
    assert sorted(created) == [f"t{number}" for number in range(2, 10)]
    assert placements() == {t.name: t.placement() for t in Tenant.objects.all()}
    repair_everything()


def test_a_killed_run_leaves_whole_tenants_after_repair_and_is_completed(
    registered_shards, written, placements
):
    path = written("name", *(f"t{number}" for number in range(12)))
    for _ in range(2):
        before = len(names())
        process = command("create_tenants", path)
        while len(names()) < before + 4 and process.poll() is None:
            threading.Event().wait(0.01)
        process.kill()
        process.communicate()
        repair_everything()
        assert all(works(name) for name in names())
    assert run_json("create_tenants", path)["counts"]["failed"] == 0
    assert names() == {f"t{number}" for number in range(12)}
    assert placements() == {t.name: t.placement() for t in Tenant.objects.all()}
