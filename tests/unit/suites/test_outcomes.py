"""Two runs of a suite are compared test by test."""

import json

import pytest

from tests.suites.outcomes import Outcome, Run, differences
from tests.suites.postgres import Leftovers
from tests.suites.report import Comparison, write_json

NOTHING_LEFT = Leftovers([], [], [], [], 0)


def run_of(**outcomes):
    tests = {test: Outcome(outcome) for test, outcome in outcomes.items()}
    return Run(status=0, seconds=1.0, tests=tests)


def compare(routed, straight, **more):
    return Comparison("a suite", routed, straight, **{"leftovers": NOTHING_LEFT, **more})


def test_the_worst_of_a_tests_outcomes_counts(tmp_path):
    results = tmp_path / "results.jsonl"
    lines = [
        {"test": "a", "outcome": "failed", "detail": "a subtest"},
        {"test": "a", "outcome": "passed", "detail": ""},
        {"test": "b", "outcome": "passed", "detail": ""},
    ]
    results.write_text("".join(json.dumps(line) + "\n" for line in lines))
    run = Run.read(results, status=1, seconds=2.0)
    assert run.tests == {"a": Outcome("failed", "a subtest"), "b": Outcome("passed")}
    assert run.counts()["failed"] == 1


@pytest.mark.parametrize("outcome", ["failed", "error", "skipped", "unexpected success"])
def test_what_passes_straight_and_not_over_grpc_is_lost(outcome):
    comparison = compare(run_of(a=outcome, b="passed"), run_of(a="passed", b="passed"))
    assert [one.test for one in comparison.lost] == ["a"]
    assert not comparison.holds


def test_a_test_that_is_not_run_is_lost():
    comparison = compare(run_of(b="passed"), run_of(a="passed", b="passed"))
    assert [(one.test, one.routed.outcome) for one in comparison.lost] == [("a", "not run")]


def test_what_fails_both_ways_is_no_difference():
    assert not differences(run_of(a="failed"), run_of(a="failed"))


def test_what_passes_only_over_grpc_is_different_and_not_lost():
    comparison = compare(run_of(a="passed", b="passed"), run_of(a="failed", b="passed"))
    assert len(comparison.differing) == 1
    assert comparison.holds


def test_nothing_may_be_left():
    left = Leftovers(["a_role"], [], [], [], 0)
    assert str(left) == "roles: a_role"
    assert not compare(run_of(a="passed"), run_of(a="passed"), leftovers=left).holds


@pytest.mark.parametrize("run", [run_of(), run_of(a="error")])
def test_a_suite_of_which_nothing_passes_did_not_run(run):
    assert not compare(run, run).holds


def test_a_comparison_prints_and_writes_itself(tmp_path, capsys):
    comparison = compare(run_of(a="failed"), run_of(a="passed"))
    comparison.print()
    assert "Lost over gRPC: 1\n  a: passed straight, failed over gRPC" in capsys.readouterr().out
    write_json([comparison], tmp_path / "report.json")
    (written,) = json.loads((tmp_path / "report.json").read_text())
    assert written["differences"][0]["lost"] is True
