"""What the README says about speed was measured, and no promise is missing."""

import json
from pathlib import Path

from benchmarks.figures import Check
from benchmarks.report import README, RESULTS, with_section
from benchmarks.rows import ROWS

PROMISED = {str(number) for number in range(1, 14)}


def test_the_readme_has_the_table_that_the_results_give() -> None:
    found = json.loads(Path(RESULTS, "latest.json").read_text())
    text = README.read_text()
    assert with_section(text, found) == text


def test_the_table_in_the_readme_was_not_written_by_hand() -> None:
    found = json.loads(Path(RESULTS, "latest.json").read_text())
    text = README.read_text()
    check = next(item for row in found["rows"] for item in row["checks"] if item["most"])
    check["most"] *= 2
    assert with_section(text, found) != text


def test_each_promise_is_a_row() -> None:
    assert {row.number.rstrip("bc") for row in ROWS} == PROMISED


def test_a_figure_is_judged_by_its_median() -> None:
    check = Check("ratio", [1.0, 9.0, 1.2], most=1.25)
    assert check.passed
    assert check.used == 1.2 / 1.25
    assert Check("throughput", [0.4, 0.4, 0.9], least=0.5).passed is False
    assert Check("beside it", [1.0]).passed is None
