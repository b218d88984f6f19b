"""What is outside of a statement's constants, compared with PostgreSQL's own scanner."""

import random

import pglast
import pytest
from pglast.parser import ParseError

from mtdd_router.server.constants import without_constants

PIECES = [
    "'", "''", "'", "\\", "\\'", "\\\\'", "E'", "e'", " E'", "U&'", "u&\"", "b'", "x'",
    '"', '""', "$$", "$1", "$a$", "a$1", "$", "--", "\n", "/*", "*/", " ", ",", ";", "a", "E", "e",
    "type'", "é", "éE'", "1e'", "(", ")", "::text", "\t", "set_config", "U&", "&", "1", "'a'",
    "'b'", "temp", "\r", "\f", "\v", "\u00a0", "\u2028",
]  # fmt: skip


@pytest.mark.parametrize(
    ("statement", "outside"),
    [
        ("SELECT 1", "SELECT 1"),
        ("SELECT 'a;b', 'it''s; so'", "SELECT '', ''''"),
        ("SELECT E'a\\\\', ';'", "SELECT E'', ''"),
        ("SELECT date'2020-01-01', ';'", "SELECT date'', ''"),
        ("SELECT 'a'\n'b;'", "SELECT ''\n''"),
        ('SELECT "a", \'"\'', "SELECT \"a\", ''"),
    ],
)
def test_constants_are_emptied(statement, outside):
    assert without_constants(statement) == outside


@pytest.mark.parametrize(
    "statement",
    [
        "SELECT 'open",
        "SELECT E'\\'; RESET ROLE; --'",
        "SELECT E'a'\n'\\'; RESET ROLE; --'",
        "SELECT \"'\"; RESET ROLE; --'",
        "SELECT $$'$$; RESET ROLE; --'",
        "SELECT 1 --'\n; RESET ROLE; --'",
        "SELECT /*'*/ 1; RESET ROLE; --'",
        "SELECT U&'\\0027; RESET ROLE'",
        "SELECT $a$'$a$; RESET ROLE --'",
    ],
)
def test_what_could_be_read_otherwise_is_left_to_the_parser(statement):
    assert without_constants(statement) is None


def test_nothing_that_postgresql_sees_is_taken_for_the_inside_of_a_constant():
    chance = random.Random(5)
    told = 0
    for _ in range(30_000):
        text = "".join(chance.choice(PIECES) for _ in range(chance.randrange(2, 14)))
        outside = without_constants(text)
        if outside is None:
            continue
        try:
            expected = tokens(text)
        except ParseError:
            # PostgreSQL refuses it as well.
            continue
        told += 1
        assert tokens(outside) == expected, (text, outside)
    assert told > 1_000


def tokens(text: str) -> list[str]:
    """Return the kinds of the tokens."""
    return [token.name for token in pglast.parser.scan(text)]
