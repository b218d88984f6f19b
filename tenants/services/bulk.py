"""Creating many tenants from a list, as a CSV file has it.

Invariants: nothing is created before the whole list is known to be right; a line that
fails does not stop the others; the same list may be run again, and does what is left.
"""

import csv
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from enum import StrEnum
from threading import Event
from time import perf_counter
from typing import Final

from django.db import Error

from mtdd_router.errors import InvalidTenantName, MTDDError
from mtdd_router.types import Isolation
from tenants.errors import InvalidTenantList
from tenants.models import Shard, Tenant
from tenants.services.changing import IN_USE
from tenants.services.parallel import in_parallel
from tenants.services.tenants import create_tenant, validate_new_name

__all__ = [
    "CREATED_AT_A_TIME",
    "CreationOutcome",
    "CreationResult",
    "NewTenant",
    "create_tenants",
    "read_new_tenants",
]

CREATED_AT_A_TIME: Final = 4
_COLUMNS: Final = ("name", "shard", "isolation")
_NAMES_AT_A_TIME: Final = 2000


@dataclass(frozen=True, slots=True)
class NewTenant:
    """A line of a list; *shard* is empty for the least loaded, *isolation* None for schema."""

    line: int
    name: str
    shard: str = ""
    isolation: Isolation | None = None


class CreationOutcome(StrEnum):
    """What became of a line."""

    CREATED = "created"
    SKIPPED = "skipped"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class CreationResult:
    """What became of one line; *seconds* is how long it took."""

    new: NewTenant
    outcome: CreationOutcome
    shard: str = ""
    seconds: float = 0.0
    error: str = ""


def read_new_tenants(lines: Iterable[str]) -> list[NewTenant]:
    """Return the tenants of a list: CSV with a header of name, shard and isolation.

    Only the name must be there. Empty lines are passed over.

    Raises:
        InvalidTenantList: naming each line that is wrong, and why.
    """
    reader = csv.reader(lines, strict=True, skipinitialspace=True)
    problems: list[tuple[int, str]] = []
    found: dict[str, NewTenant] = {}
    shards = dict(Shard.objects.values_list("name", "accepts_tenants"))
    try:
        header = _header(reader)
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            try:
                new = _new_tenant(reader.line_num, header, cells, shards)
                if (first := found.setdefault(new.name, new)) is not new:
                    raise ValueError(f"{new.name!r} is in line {first.line} already.")  # noqa: TRY301
            except ValueError as exc:
                problems.append((reader.line_num, str(exc)))
    except UnicodeDecodeError as exc:
        problem = (reader.line_num + 1, f"It is not UTF-8: {exc.reason}.")
        raise InvalidTenantList(problems=[*problems, problem]) from exc
    except csv.Error as exc:
        problem = (reader.line_num, f"It is not CSV: {exc}.")
        raise InvalidTenantList(problems=[*problems, problem]) from exc
    if problems:
        raise InvalidTenantList(problems=problems)
    return list(found.values())


def create_tenants(
    wanted: Sequence[NewTenant],
    *,
    parallel: int = CREATED_AT_A_TIME,
    fail_fast: bool = False,
    on_result: Callable[[CreationResult], None] = lambda _: None,
) -> list[CreationResult]:
    """Create those of *wanted* that are not there, and return a result for each that was begun.

    One that is there as it is wanted, in use, is skipped; one that is there otherwise fails.

    Args:
        wanted: of `read_new_tenants`.
        parallel: how many at a time.
        fail_fast: begin no more once one has failed.
        on_result: called with each result as it comes, one call at a time.

    Raises:
        KeyboardInterrupt: after those at hand are finished.
    """
    results: list[CreationResult] = []
    stop = Event()
    with closing(
        in_parallel(_with_standing(wanted), _create, parallel=parallel, stop=stop)
    ) as done:
        for result in done:
            results.append(result)
            on_result(result)
            if fail_fast and result.outcome is CreationOutcome.FAILED:
                stop.set()
    return results


def _header(reader: Iterator[list[str]]) -> list[str]:
    header = [cell.strip().lower() for cell in next(reader, [])]
    if header:
        header[0] = header[0].removeprefix("\ufeff")
    unknown = sorted(set(header) - set(_COLUMNS))
    if "name" not in header or unknown or len(set(header)) < len(header):
        has = f"this one has {', '.join(map(repr, header))}" if header else "there is none"
        raise InvalidTenantList(
            problems=[
                (1, f"The first line names the columns, name and maybe shard, isolation; {has}.")
            ]
        )
    return header


def _new_tenant(
    line: int, header: Sequence[str], cells: Sequence[str], shards: dict[str, bool]
) -> NewTenant:
    """Return what a line says.

    Raises:
        ValueError: if that cannot be.
    """
    if len(cells) != len(header):
        raise ValueError(f"Cells here: {len(cells)}, in the header: {len(header)}.")
    given = dict(zip(header, (cell.strip() for cell in cells), strict=True))
    try:
        name = validate_new_name(given["name"])
    except InvalidTenantName as exc:
        raise ValueError(str(exc)) from exc
    shard, isolation = given.get("shard", ""), given.get("isolation", "").lower()
    if shard and shard not in shards:
        raise ValueError(f"No shard {shard!r} is registered.")
    if shard and not shards[shard]:
        raise ValueError(f"Shard {shard!r} accepts no new tenants.")
    if isolation and isolation not in set(Isolation):
        raise ValueError(f"{isolation!r} is no isolation; there are {', '.join(Isolation)}.")
    return NewTenant(line, name, shard, Isolation(isolation) if isolation else None)


def _with_standing(wanted: Sequence[NewTenant]) -> Iterator[tuple[NewTenant, Tenant | None]]:
    """Yield what is wanted with what is there in use, asking for many at a time."""
    for start in range(0, len(wanted), _NAMES_AT_A_TIME):
        part = wanted[start : start + _NAMES_AT_A_TIME]
        rows = Tenant.objects.select_related("shard").filter(
            name__in=[new.name for new in part], state__in=IN_USE
        )
        there = {row.name: row for row in rows}
        yield from ((new, there.get(new.name)) for new in part)


def _create(one: tuple[NewTenant, Tenant | None]) -> CreationResult:
    new, there = one
    if there is not None:
        return _compared(new, there)
    started = perf_counter()
    try:
        tenant = create_tenant(
            new.name, shard=new.shard or None, isolation=new.isolation or Isolation.SCHEMA
        )
    except (MTDDError, Error) as exc:
        seconds = perf_counter() - started
        return CreationResult(new, CreationOutcome.FAILED, new.shard, seconds, str(exc))
    seconds = perf_counter() - started
    return CreationResult(new, CreationOutcome.CREATED, tenant.shard.name, seconds)


def _compared(new: NewTenant, there: Tenant) -> CreationResult:
    """Return what becomes of a line whose tenant is there."""
    shard = there.shard.name
    if new.shard not in ("", shard):
        error = f"Tenant {new.name!r} is there already, on shard {shard!r}."
    elif new.isolation not in (None, there.isolation):
        error = f"Tenant {new.name!r} is there already, with isolation {there.isolation!r}."
    else:
        return CreationResult(new, CreationOutcome.SKIPPED, shard)
    return CreationResult(new, CreationOutcome.FAILED, shard, error=error)
