"""What the report about refusals calls expected."""

import pytest

from tests.suites.refusals import Refusals


@pytest.mark.parametrize(
    ("statement", "refusal"),
    [
        ('CREATE DATABASE "test_suite_other" ', "Createdb statements need maintenance"),
        ('CREATE COLLATION "C_test" (locale="C")', "Define statements need maintenance"),
        ("\n  CREATE FUNCTION f() ...", "CreateFunction statements need maintenance"),
    ],
)
def test_a_refusal_with_a_reason_is_expected(statement, refusal):
    assert not Refusals(1, 0, {statement: refusal}).unexpected


@pytest.mark.parametrize(
    ("statement", "refusal"),
    [
        ('CREATE DATABASE "own"', "Createdb statements need maintenance"),
        ("CREATE AGGREGATE a (...)", "Define statements need maintenance"),
        ("SELECT 1", "it cannot be parsed"),
    ],
)
def test_any_other_is_not(statement, refusal):
    assert Refusals(1, 0, {statement: refusal}).unexpected == {statement: refusal}
