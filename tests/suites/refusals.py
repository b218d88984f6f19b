"""What a tenant would be refused of the statements that a suite sends, and why that is right."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

__all__ = ["EXPECTED", "Refusals"]

_SHOWN: Final = 200

# By a part of the server's words, or of the statement.
EXPECTED: Final[Mapping[str, str]] = {
    r'^(Createdb|Dropdb) .*"test_suite_': "a tenant makes and drops no databases",
    r"^role belongs .*django_nonexistent_role": "the option assume_role; a tenant has one role",
    r"^standard_conforming_strings belongs ": "the parser reads strings as the standard says",
    r"^Define .*COLLATION ": "a migration's, which are maintenance",
    r"^CreateFunction ": "a body of code that the server cannot examine; a migration's",
    r"^CreateForeign(Server|Table) ": "leads out of the database; a superuser's",
    r"^CreateSchema ": "a tenant has one schema",
    r"^it cannot be parsed: INVALID SQL": "PostgreSQL cannot parse it either",
}


@dataclass(frozen=True)
class Refusals:
    """The notes of an examining server.

    Attributes:
        statements: how many were examined.
        ordinary: how many of them a look at their bytes showed to be plain DML.
        refused: why each refused statement was, by its text.
    """

    statements: int
    ordinary: int
    refused: Mapping[str, str]

    @classmethod
    def read(cls, path: Path) -> "Refusals":
        """Read the notes in the file at *path*."""
        return cls(**json.loads(path.read_text()))

    @property
    def unexpected(self) -> Mapping[str, str]:
        """Those for which nobody has given a reason."""
        return {
            statement: refusal
            for statement, refusal in self.refused.items()
            if not _kind(statement, refusal)
        }

    def print(self) -> None:
        """Print how many there are of each kind, and the unexpected ones."""
        share = 100 * self.ordinary / max(self.statements, 1)
        print(f"\n{self.statements:,} statements, {share:.1f} % of them plain DML at a look.")
        print(f"Refused to a tenant: {len(self.refused):,} different ones.")
        kinds = Counter(_kind(*refused) or "unexpected" for refused in self.refused.items())
        for kind, count in kinds.most_common():
            print(f"  {count:>6,}  {kind}  {EXPECTED.get(kind, '')}")
        for statement, refusal in self.unexpected.items():
            print(f"    {refusal}: {statement[:_SHOWN]}")


def _kind(statement: str, refusal: str) -> str:
    """Return which of the expected ones it is, or nothing."""
    text = f"{refusal}: {statement}"
    return next((part for part in EXPECTED if re.search(part, text, re.DOTALL)), "")
