"""The admin, driven in a real browser against a real server on real shards."""

import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import psycopg
import pytest
from django.contrib.auth.models import User
from django.db import OperationalError
from playwright.sync_api import Page, expect

from mtdd_router.client.admin import ShardAdmin
from mtdd_router.directory import directory
from mtdd_router.embedded.ports import choose_port
from mtdd_router.embedded.shard_server import ShardServer
from mtdd_router.errors import TenantUnavailable
from tenants import services
from tenants.models import Shard, Tenant

NAME, PASSWORD = "admin", "correct horse"
Beside = Callable[..., Any]


@pytest.fixture
def shards(shard_addresses: dict[str, str]) -> Iterator[dict[str, str]]:
    """Shards that run and are not registered; what the test puts there goes afterwards."""
    directory.forget()
    yield shard_addresses
    directory.forget()
    for address in shard_addresses.values():
        admin = ShardAdmin(address)
        for tenant in admin.placements().placements:
            admin.drop_namespace(tenant)


@pytest.fixture
def admin(page: Page, beside: Beside) -> Page:
    """The admin's first page, logged in through the form."""
    beside(lambda: User.objects.db_manager("default").create_superuser(NAME, password=PASSWORD))
    page.goto("/admin/")
    page.get_by_label("Username").fill(NAME)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Log in").click()
    expect(page.get_by_role("heading", name="Site administration")).to_be_visible()
    return page


@pytest.fixture
def dying_server(empty_database_dsn: str, tmp_path: Any) -> Iterator[ShardServer]:
    """A third shard, which the test may stop."""
    server = ShardServer(
        name="third",
        port=choose_port(),
        dsn=empty_database_dsn,
        pool_size=5,
        workers=1,
        log=tmp_path / "third.log",
        mark=f"third-{secrets.token_hex(4)}",
    )
    server.start()
    server.wait_ready()
    yield server
    server.stop()


def add_shard(page: Page, name: str, address: str) -> None:
    page.goto("/admin/tenants/shard/add/")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Address").fill(address)
    page.get_by_role("button", name="Save", exact=True).click()


def add_tenant(page: Page, name: str, shard: str = "") -> None:
    page.goto("/admin/tenants/tenant/add/")
    page.get_by_label("Name").fill(name)
    if shard:
        page.get_by_label("Shard").select_option(label=shard)
    page.get_by_role("button", name="Save", exact=True).click()


def until_done(page: Page) -> None:
    """Wait on the page of a job, which reads itself again, until the job is done."""
    expect(page.locator(".field-state_badge")).to_contain_text("done", timeout=30_000)


def go_to_tenant(page: Page, name: str) -> None:
    """Follow the link to the tenant that the page of a job is about."""
    page.locator(".field-about").get_by_role("link", name=name, exact=True).click()


def roles_and_schemas(dsn: str, name: str) -> set[str]:
    """Return which of role and schema of that *name* PostgreSQL itself has."""
    query = """SELECT 'role' FROM pg_roles WHERE rolname = %(name)s
               UNION ALL SELECT 'schema' FROM pg_namespace WHERE nspname = %(name)s"""
    with psycopg.connect(dsn) as connection:
        return {row[0] for row in connection.execute(query, {"name": name})}


@pytest.mark.usefixtures("worker")
def test_a_tenant_lives_its_whole_life_in_the_admin(
    admin: Page,
    shards: dict[str, str],
    shard_postgres_dsns: dict[str, str],
    beside: Beside,
    shot: Callable[[str], None],
) -> None:
    page = admin
    shot("01-index")

    add_shard(page, "eu-1", shards["shard1"])
    expect(page.locator(".messagelist .success")).to_contain_text("was added successfully")
    row = page.locator("#result_list tbody tr")
    expect(row).to_contain_text("eu-1")
    expect(row.locator(".mtdd-good")).to_have_text("up")
    add_shard(page, "eu-2", shards["shard2"])
    expect(page.locator("#result_list .mtdd-good")).to_have_count(2)
    shot("02-shards")

    page.goto("/admin/tenants/tenant/add/")
    shot("03-new-tenant")
    add_tenant(page, "abc", f"eu-2 ({shards['shard2']})")
    expect(page.locator(".messagelist .success")).to_contain_text("abc")
    until_done(page)
    shot("03-job")
    go_to_tenant(page, "abc")
    expect(page.locator(".field-state_badge")).to_contain_text("active")
    expect(page.locator(".field-shard_link")).to_contain_text("eu-2")
    expect(page.locator(".field-live_size")).to_contain_text(re.compile(r"\d\s[KM]B"))
    tenant = beside(Tenant.objects.get)
    expect(page.locator(".field-namespace")).to_contain_text(tenant.namespace)
    assert tenant.namespace.startswith("t_abc_")
    shot("04-tenant")

    beside(lambda: User.objects.mtdd("abc").create(username="ada", email="ada@example.com"))
    assert beside(lambda: User.objects.mtdd("abc").get(username="ada").email) == "ada@example.com"
    with psycopg.connect(shard_postgres_dsns["shard2"]) as connection:
        connection.execute(f'SET ROLE "{tenant.role}"')
        query = f'SELECT username FROM "{tenant.namespace}".auth_user'
        assert connection.execute(query).fetchall() == [("ada",)]
    # The project's own users are others.
    assert beside(lambda: User.objects.using("default").filter(username="ada").exists()) is False

    page.get_by_role("button", name="Freeze").click()
    expect(page.locator(".messagelist .success")).to_contain_text("is frozen")
    expect(page.locator(".field-state_badge")).to_contain_text("frozen")
    shot("05-frozen")
    with pytest.raises(TenantUnavailable, match="abc"):
        beside(lambda: User.objects.mtdd("abc").count())

    page.get_by_role("button", name="Unfreeze").click()
    expect(page.locator(".field-state_badge")).to_contain_text("active")
    directory.forget()
    assert beside(lambda: User.objects.mtdd("abc").count()) == 1

    page.goto("/admin/tenants/tenant/")
    expect(page.locator("#result_list tbody tr")).to_contain_text("abc")
    shot("06-tenants")

    # A shard that is lived on is not removed.
    page.goto("/admin/tenants/shard/")
    page.get_by_role("link", name="eu-2").click()
    shot("07-shard")
    page.locator(".deletelink").click()
    page.get_by_role("button", name="Yes, remove it").click()
    expect(page.locator(".errornote")).to_contain_text("abc")
    shot("08-shard-in-use")

    page.goto(f"/admin/tenants/tenant/{tenant.pk}/change/")
    page.locator(".deletelink").click()
    expect(page.locator("#content")).to_contain_text("For 7 days it can be brought back")
    losses = page.locator(".mtdd-losses")
    for word in ("abc", "eu-2", tenant.namespace, "Tables", "Rows", "Size"):
        expect(losses).to_contain_text(word)
    shot("09-delete")
    page.locator("#id_typed_name").fill("abc")
    page.get_by_role("button", name="Delete").click()
    expect(page.locator("#result_list .mtdd-bad")).to_have_text("deleted")
    shot("09-deleted")
    page.get_by_role("link", name="abc", exact=True).click()
    page.get_by_role("button", name="Undelete").click()
    expect(page.locator(".field-state_badge")).to_contain_text("active")
    beside(lambda: services.delete_tenant("abc"))

    page.locator(".deletelink").click()
    expect(page.locator("#content")).to_contain_text("This will be lost for ever")
    page.locator("#id_typed_name").fill("abd")
    page.get_by_role("button", name="Delete for ever").click()
    expect(page.locator(".errornote")).to_contain_text("nothing was deleted")
    assert roles_and_schemas(shard_postgres_dsns["shard2"], tenant.namespace) == {"role", "schema"}
    page.locator("#id_typed_name").fill("abc")
    page.get_by_role("button", name="Delete for ever").click()
    expect(page.locator(".messagelist .success")).to_contain_text("abc")
    shot("10-purged")
    assert beside(Tenant.objects.count) == 0
    assert roles_and_schemas(shard_postgres_dsns["shard2"], tenant.namespace) == set()


@pytest.mark.usefixtures("worker")
def test_a_dead_shard_shows_as_such_and_breaks_no_page(
    admin: Page,
    shards: dict[str, str],
    dying_server: ShardServer,
    beside: Beside,
    shot: Callable[[str], None],
) -> None:
    page = admin
    add_shard(page, "alive", shards["shard1"])
    add_shard(page, "third", dying_server.address)
    add_tenant(page, "there", f"third ({dying_server.address})")
    until_done(page)
    dying_server.stop()

    page.goto("/admin/tenants/shard/")
    rows = page.locator("#result_list tbody tr")
    expect(rows.filter(has_text="alive").locator(".mtdd-good")).to_have_text("up")
    expect(rows.filter(has_text="third").locator(".mtdd-bad")).to_have_text("down")
    expect(rows.filter(has_text="third")).to_contain_text(dying_server.address)
    shot("01-shards")
    page.get_by_role("link", name="third").click()
    expect(page.locator(".field-health .mtdd-bad")).to_have_text("down")
    shot("02-shard")
    page.goto("/admin/tenants/tenant/")
    expect(page.locator("#result_list tbody tr")).to_contain_text("there")
    shot("03-tenants")
    page.get_by_role("link", name="there", exact=True).click()
    expect(page.locator(".field-live_size")).to_contain_text("-")
    shot("04-tenant")
    page.get_by_role("button", name="Freeze").click()
    expect(page.locator(".messagelist .error")).to_contain_text(dying_server.address)
    expect(page.locator(".field-state_badge")).to_contain_text("active")
    shot("05-cannot-freeze")
    page.locator(".deletelink").click()
    expect(page.locator(".mtdd-losses")).to_contain_text("not known")
    page.locator("#id_typed_name").fill("there")
    page.get_by_role("button", name="Delete").click()
    expect(page.locator(".errornote")).to_contain_text(dying_server.address)
    shot("06-cannot-delete")
    assert beside(lambda: Tenant.objects.get().state) == "active"

    add_tenant(page, "other", f"third ({dying_server.address})")
    expect(page.locator(".field-shard .errorlist")).to_contain_text(dying_server.address)
    shot("07-cannot-create")
    assert beside(lambda: list(Tenant.objects.values_list("name", flat=True))) == ["there"]
    with pytest.raises(OperationalError, match="third"):
        beside(lambda: User.objects.mtdd("there").count())


@pytest.mark.usefixtures("worker")
def test_creating_cloning_archiving_and_migrating_are_jobs_that_a_page_shows(
    admin: Page,
    program_environment: Mapping[str, str],
    shards: dict[str, str],
    beside: Beside,
    shot: Callable[[str], None],
) -> None:
    page = admin
    add_shard(page, "one", shards["shard1"])
    add_shard(page, "two", shards["shard2"])
    add_tenant(page, "abc", f"one ({shards['shard1']})")
    until_done(page)
    expect(page.locator(".field-result")).to_contain_text("Tenant abc is there.")
    beside(lambda: User.objects.mtdd("abc").create(username="ada"))
    go_to_tenant(page, "abc")

    page.get_by_role("link", name="Clone").click()
    page.get_by_label("Name").fill("abc")
    page.get_by_role("button", name="Clone").click()
    expect(page.locator(".field-name .errorlist")).to_contain_text("already exists")
    shot("01-clone-refused")
    page.get_by_label("Name").fill("xyz")
    page.get_by_label("Shard").select_option(label=f"two ({shards['shard2']})")
    page.get_by_role("button", name="Clone").click()
    until_done(page)
    shot("02-cloned")
    assert beside(lambda: User.objects.mtdd("xyz").get().username) == "ada"
    assert beside(lambda: Tenant.objects.get(name="xyz").shard.name) == "two"

    go_to_tenant(page, "xyz")
    page.get_by_role("button", name="Archive").click()
    until_done(page)
    shot("03-archived")
    (archive,) = Path(program_environment["MTDD_TEST_ARCHIVE_ROOT"]).iterdir()
    expect(page.locator(".field-result")).to_contain_text(archive.name)
    restored = beside(lambda: services.restore_tenant(archive, name="again"))
    assert beside(lambda: User.objects.mtdd(restored.name).get().username) == "ada"

    page.goto("/admin/tenants/migrationrun/add/")
    shot("04-new-run")
    page.get_by_role("button", name="Save", exact=True).click()
    until_done(page)
    expect(page.locator(".field-how_far")).to_contain_text("3 / 3")
    page.locator(".field-run_link").get_by_role("link").click()
    expect(page.locator(".field-state_badge")).to_contain_text("finished")
    shot("05-run")
    page.goto("/admin/tenants/job/")
    expect(page.locator("#result_list .mtdd-good")).to_have_count(4)
    shot("06-jobs")


def test_a_wrong_address_is_an_error_of_the_form(
    admin: Page,
    shards: dict[str, str],
    web: str,
    beside: Beside,
    shot: Callable[[str], None],
) -> None:
    page = admin
    errors = page.locator(".field-address .errorlist")
    nobody = f"127.0.0.1:{choose_port()}"
    for address, said in {
        "not an address": "host:port",
        nobody: nobody,
        web.removeprefix("http://"): "cannot be used as shard|[Cc]annot reach|not a shard server",
    }.items():
        add_shard(page, "wrong", address)
        expect(errors).to_contain_text(re.compile(said))
        shot(f"address-{re.sub('[^a-z0-9]+', '-', address)}")
    assert beside(Shard.objects.count) == 0

    add_shard(page, "right", shards["shard1"])
    add_shard(page, "again", shards["shard1"])
    expect(errors).to_contain_text(re.compile("already (registered|exists)"))
    shot("twice")
    assert beside(Shard.objects.count) == 1

    for name in ("Robert'); DROP TABLE", "default", "UPPER"):
        add_tenant(page, name)
        expect(page.locator(".field-name .errorlist")).to_be_visible()
    shot("bad-name")
    assert beside(Tenant.objects.count) == 0
