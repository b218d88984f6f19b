"""Results as a table on the terminal, as JSON, and as Markdown for the README."""

import json
import os
import platform
from collections.abc import Sequence
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.comparison import Measured
from benchmarks.works import WORKS

__all__ = ["duration", "show", "write"]

_PACKAGES = ("django", "psycopg", "grpcio", "protobuf", "uvloop")


def duration(microseconds: float) -> str:
    """Return a duration for people."""
    if microseconds < 10_000:
        return f"{microseconds:,.0f} µs"
    return f"{microseconds / 1000:,.1f} ms"


def show(console: Console, measured: Sequence[Measured], title: str) -> None:
    """Print the comparison; the first candidate is what the others are compared with."""
    base = next(iter(measured[0].rounds))
    table = Table(title=title, caption=f"ratio to {base}: median, least and greatest of the rounds")
    for name in ("work", "candidate"):
        table.add_column(name)
    for name in ("p50", "p99", "ratio", "spread"):
        table.add_column(name, justify="right", style="bold" if name == "ratio" else "")
    for item in measured:
        table.add_section()
        for name in item.rounds:
            ratio = spread = ""
            if name != base:
                ratios = item.ratios(name, base)
                ratio, spread = f"{median(ratios):.2f}", f"{ratios[0]:.2f}-{ratios[-1]:.2f}"
            title = WORKS[item.work].title if name == base else ""
            times = duration(item.quantile(name, 0.5)), duration(item.quantile(name, 0.99))
            table.add_row(title, name, *times, ratio, spread)
    console.print(table)


def write(folder: Path, measured: Sequence[Measured], facts: dict[str, Any]) -> None:
    """Write ``latest.json`` and ``latest.md`` into *folder*."""
    folder.mkdir(parents=True, exist_ok=True)
    result = {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": {"processors": os.cpu_count(), "system": platform.system()},
        "versions": {
            "python": platform.python_version(),
            **{name: version(name) for name in _PACKAGES},
        },
        **facts,
        "works": [_as_json(item) for item in measured],
    }
    text = json.dumps(result, indent=2, ensure_ascii=False) + "\n"
    (folder / "latest.json").write_text(text)
    (folder / "latest.md").write_text(_as_markdown(measured, result))


def _as_json(item: Measured) -> dict[str, Any]:
    base = next(iter(item.rounds))
    candidates: dict[str, Any] = {}
    for name in item.rounds:
        candidates[name] = {
            "p50_us": round(item.quantile(name, 0.5), 1),
            "p99_us": round(item.quantile(name, 0.99), 1),
        }
        if name != base:
            ratios = item.ratios(name, base)
            candidates[name]["ratio"] = round(median(ratios), 3)
            candidates[name]["ratios_by_round"] = [round(ratio, 3) for ratio in ratios]
    return {"work": item.work, "title": WORKS[item.work].title, "candidates": candidates}


def _as_markdown(measured: Sequence[Measured], result: dict[str, Any]) -> str:
    base, *others = measured[0].rounds
    head = ["through the ORM, p50", base]
    for name in others:
        head += [name, "ratio"]
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    for item in measured:
        cells = [WORKS[item.work].title, duration(item.quantile(base, 0.5))]
        for name in others:
            ratios = item.ratios(name, base)
            cells += [duration(item.quantile(name, 0.5)), f"{median(ratios):.2f}"]
        lines.append("| " + " | ".join(cells) + " |")
    versions = result["versions"]
    lines.append("")
    lines.append(
        f"Medians of {result['rounds']} interleaved rounds on one machine with "
        f"{result['machine']['processors']} processors; PostgreSQL {result['postgresql']}, "
        f"Django {versions['django']}, Python {versions['python']}."
    )
    return "\n".join(lines) + "\n"
