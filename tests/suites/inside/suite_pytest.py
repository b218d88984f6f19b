"""A pytest plugin that writes down what became of each test, as ``suite_results`` does."""

import json
import os
from pathlib import Path

import pytest


def _write(test: str, outcome: str, detail: str = "") -> None:
    line = json.dumps({"test": test, "outcome": outcome, "detail": detail})
    with Path(os.environ["SUITE_RESULTS"]).open("a", encoding="utf-8") as results:
        results.write(f"{line}\n")


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """Write down a module that cannot be imported."""
    if report.failed:
        _write(report.nodeid, "error", report.longreprtext)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Write down a call, and a set-up or tear-down that did not pass."""
    expected = hasattr(report, "wasxfail")
    if report.skipped:
        _write(report.nodeid, "expected failure" if expected else "skipped", report.longreprtext)
    elif report.failed:
        called = report.when == "call"
        _write(report.nodeid, "failed" if called else "error", report.longreprtext)
    elif report.when == "call":
        _write(report.nodeid, "unexpected success" if expected else "passed")
