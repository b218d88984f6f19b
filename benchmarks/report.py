"""Results as a table on the terminal, as JSON, and as the README's own section."""

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.candidates import BARE, ROOT
from benchmarks.figures import Check, Result

__all__ = ["README", "RESULTS", "duration", "show", "update_readme", "write"]

RESULTS = ROOT / "benchmarks" / "results"
README = ROOT / "README.md"
_PACKAGES = ("django", "psycopg", "django-tenants", "protobuf", "uvloop")
# Shown beside what has a bar, though they have none.
_FLOORS = ("empty hop", BARE.name)
_BEGIN = "<!-- benchmarks: make bench writes this -->\n"
_END = "<!-- benchmarks: end -->\n"


def duration(microseconds: float) -> str:
    """Return a duration for people."""
    if microseconds < 10_000:
        return f"{microseconds:,.1f} µs" if microseconds < 10 else f"{microseconds:,.0f} µs"
    return f"{microseconds / 1000:,.0f} ms"


def show(console: Console, results: Sequence[Result], title: str) -> None:
    """Print the rows: each candidate's durations, and each figure beside its bar."""
    table = Table(title=title, caption="spread: the least and the greatest of the rounds")
    for name in ("", "work", "candidate or figure"):
        table.add_column(name)
    for name in ("p50", "p99", "measured", "spread", "at most"):
        table.add_column(name, justify="right")
    for result in results:
        table.add_section()
        head = [result.number, result.title]
        measured = result.as_json()
        for name, candidate in measured["candidates"].items():
            p50, p99 = duration(candidate["p50_us"]), duration(candidate["p99_us"])
            table.add_row(*head, name, p50, p99)
            head = ["", ""]
        for check in result.checks:
            style = {True: "green", False: "bold red", None: ""}[check.passed]
            figures = _figure(check.as_json(), "value"), _spread(check.as_json())
            table.add_row(*head, check.what, "", "", *figures, _bar(check.as_json()), style=style)
            head = ["", ""]
        for fact in result.facts:
            table.add_row("", "", fact, style="dim")
    console.print(table)


def write(results: Sequence[Result], facts: Mapping[str, Any]) -> dict[str, Any]:
    """Put *results* into ``latest.json``, beside rows that were not measured; return it all."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    path = RESULTS / "latest.json"
    rows = {}
    if path.exists():
        rows = {row["row"]: row for row in json.loads(path.read_text())["rows"]}
    about = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": _commit(),
        "machine": {"processors": os.cpu_count(), "system": platform.system()},
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in _PACKAGES},
        },
        **facts,
    }
    for result in results:
        rows[result.number] = {**result.as_json(), "run": about}
    found = {"rows": [rows[key] for key in sorted(rows, key=_order)]}
    path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    return found


def update_readme(found: Mapping[str, Any]) -> None:
    """Write the README's section anew."""
    README.write_text(with_section(README.read_text(), found))


def with_section(text: str, found: Mapping[str, Any]) -> str:
    """Return *text* with the section between the markers made of *found*."""
    before, _, rest = text.partition(_BEGIN)
    _, _, after = rest.partition(_END)
    return f"{before}{_BEGIN}{_section(found)}{_END}{after}"


def _section(found: Mapping[str, Any]) -> str:
    lines = ["| | work | compared | at most | measured | spread |", "|---|---|---|---:|---:|---:|"]
    for row in found["rows"]:
        head = f"| {row['row']} | {row['title']} "
        for check in row["checks"]:
            unbarred = check["most"] is None and check["least"] is None
            if unbarred and not any(floor in check["what"] for floor in _FLOORS):
                continue
            met = Check(check["what"], check["by_round"], check["most"], check["least"]).passed
            value = _figure(check, "value")
            shown = f"**{value}**" if met is False else value
            cells = check["what"], _bar(check), shown, _spread(check)
            lines.append(f"{head}| {' | '.join(cells)} |")
            head = "| | "
    newest = max((row["run"] for row in found["rows"]), key=lambda run: run["measured_at"])
    lines += [
        "",
        "![Each figure as a share of its bar](benchmarks/results/latest.svg)",
        "",
        _conditions(newest),
    ]
    return "\n".join(lines) + "\n"


def _conditions(run: Mapping[str, Any]) -> str:
    versions = run["versions"]
    load, processors = run.get("load_before", 0.0), run["machine"]["processors"]
    busy = (
        f" The machine was busy with other things, a load of {load:.0f} on {processors} "
        "processors: the spread says how much of this is the scheduler's."
    )
    return (
        "Medians of the rounds, in which the candidates take turns, and the least and greatest "
        "round; bold is a bar that is not met. What has no bar is a floor: direct through a hop "
        "in Python that only passes bytes on, and our client with a server that does nothing but "
        "pass statements on "
        "([0108](docs/decisions/0108-what-each-statement-passes.md)). "
        f"{run['machine']['processors']} processors, "
        f"PostgreSQL {run['postgresql']}, Django {versions['django']}, "
        f"Python {versions['python']}, django-tenants {versions['django-tenants']}."
        + (busy if load > processors else "")
    )


def _figure(check: Mapping[str, Any], key: str) -> str:
    return _with_unit(check[key], check["unit"])


def _spread(check: Mapping[str, Any]) -> str:
    low, high = min(check["by_round"]), max(check["by_round"])
    return f"{_with_unit(low, '')}-{_with_unit(high, '')}"


def _bar(check: Mapping[str, Any]) -> str:
    if check["most"] is not None:
        return _with_unit(check["most"], check["unit"])
    return "" if check["least"] is None else f"at least {_with_unit(check['least'], check['unit'])}"


def _with_unit(value: float, unit: str) -> str:
    number = f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"
    if value == int(value) and abs(value) >= 10:
        number = f"{value:,.0f}"
    return number if not unit else f"{number} {unit}".replace(" x", "x")


def _order(number: str) -> tuple[int, str]:
    digits = "".join(filter(str.isdigit, number))
    return int(digits), number


def _commit() -> str:
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip()
