"""``demo``: load all flights into 16 tenants, and prove what the library promises."""

import time
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from demo.flights import dataset
from demo.flights.loading import ensure_tenant, load_carrier
from demo.flights.proof import Proof
from mtdd_router.embedded import administrator_dsns


class Command(BaseCommand):
    """Exit with 1 if anything disagrees."""

    help = "Make 16 carriers tenants, load 336,776 flights, and prove where and what they are."

    def handle(self, *args: Any, **options: Any) -> None:
        console = Console(file=self.stdout, highlight=False, width=_width())
        started = time.monotonic()
        try:
            flights = dataset.flights()
        except dataset.DatasetMissing as exc:
            raise CommandError(str(exc)) from exc
        carriers = dataset.carriers()
        self._load(console, carriers, flights)
        loaded = time.monotonic()
        proof = Proof(console)
        expected = {code: dataset.figures(rows) for code, rows in flights.items()}
        counts = {dataset.tenant_of(code): len(rows) for code, rows in flights.items()}
        dsns = administrator_dsns(settings.MTDD_STACK_DIR)
        proof.expect(sum(counts.values()) == dataset.FLIGHTS, "the number of flights in the files")
        proof.same_answers(["ua", "aa"])
        proof.figures(carriers, expected)
        proof.whereabouts(dsns, counts)
        proof.refusals("oo")
        proof.speed("ua", dsns)
        console.print(
            f"Loading took {loaded - started:.0f} s, proving {time.monotonic() - loaded:.0f} s."
        )
        if proof.disagreements:
            count = len(proof.disagreements)
            what = "1 thing disagrees" if count == 1 else f"{count} things disagree"
            raise CommandError(f"{what}; see above.")
        console.print("[bold green]Everything agrees.[/]")

    def _load(
        self,
        console: Console,
        carriers: list[dataset.Carrier],
        flights: dict[str, list[dataset.Row]],
    ) -> None:
        aircraft = dataset.planes()
        with Progress(
            TextColumn("{task.description:<30}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            console=console,
        ) as progress:
            task = progress.add_task("Loading flights", total=dataset.FLIGHTS)
            for carrier in carriers:
                progress.update(task, description=carrier.name)
                ensure_tenant(carrier)
                load_carrier(
                    carrier, flights[carrier.code], aircraft, lambda n: progress.advance(task, n)
                )
            progress.update(task, description="All flights")


def _width() -> int | None:
    """Return a width for tables where there is no terminal to ask, else None."""
    return None if Console().is_terminal else 120
