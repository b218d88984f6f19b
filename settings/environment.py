"""Settings from the environment, where everything that is missing is named at once."""

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from django.core.exceptions import ImproperlyConfigured
from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

__all__ = ["Environment", "as_bool", "as_database", "as_list"]

T = TypeVar("T")


class Environment:
    """Reads variables and remembers what is missing or wrong; see ``check``."""

    def __init__(self, variables: Mapping[str, str]) -> None:
        self._variables = variables
        self._problems: list[str] = []

    def required(self, name: str, convert: Callable[[str], T]) -> T | None:
        """Return the variable, converted; None and a remembered problem without it."""
        if not self._variables.get(name):
            self._problems.append(f"{name} is not set")
            return None
        return self.optional(name, None, convert)

    def optional(self, name: str, default: T, convert: Callable[[str], T]) -> T:
        """Return the variable, converted, or *default* if it is not set or wrong."""
        value = self._variables.get(name, "")
        if not value:
            return default
        try:
            return convert(value)
        except ValueError as exc:
            # Never the value: it may be a secret in the wrong variable.
            self._problems.append(f"{name} is wrong: {exc}")
            return default

    def check(self) -> None:
        """Refuse to go on if anything was missing or wrong.

        Raises:
            ImproperlyConfigured: naming every such variable.
        """
        if self._problems:
            raise ImproperlyConfigured(
                "The environment of the production settings: " + "; ".join(self._problems) + "."
            )


def as_bool(value: str) -> bool:
    """Read ``1``, ``true``, ``yes``, ``on`` and their opposites.

    Raises:
        ValueError: for anything else.
    """
    lowered = value.lower()
    if lowered in {"1", "true", "yes", "on"}:
        return True
    if lowered in {"0", "false", "no", "off"}:
        return False
    raise ValueError("say 1 or 0")


def as_list(value: str) -> list[str]:
    """Read words parted by commas or white space."""
    return value.replace(",", " ").split()


def as_database(value: str) -> dict[str, Any]:
    """Read a PostgreSQL connection string or URI as an entry of DATABASES.

    Raises:
        ValueError: if it is neither.
    """
    try:
        values = {name: str(part) for name, part in conninfo_to_dict(value).items()}
    except ProgrammingError:
        raise ValueError("not a PostgreSQL connection string or URI") from None
    names = {"NAME": "dbname", "USER": "user", "PASSWORD": "password", "HOST": "host"}
    database: dict[str, Any] = {name: values.pop(key, "") for name, key in names.items()}
    database["PORT"] = values.pop("port", "")
    return database | {"ENGINE": "django.db.backends.postgresql", "OPTIONS": values}
