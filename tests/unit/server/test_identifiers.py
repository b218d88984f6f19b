"""Names that may become roles, schemas and databases."""

from uuid import UUID

import pytest

from mtdd_router.server.identifiers import InvalidIdentifier, check_identifier, mark


@pytest.mark.parametrize("name", ["t_abc_0123abcd", "a", "a" * 63, "x_1"])
def test_plain_lower_case_names_are_taken(name: str) -> None:
    assert check_identifier("namespace", name) == name


@pytest.mark.parametrize(
    "name",
    ["", "1a", "_a", "A", "a-b", "a b", 'a"b', "a;drop", "ä", "a" * 64, "a\n", "a.b", "a\0"],
)
def test_anything_that_would_need_quoting_is_refused(name: str) -> None:
    with pytest.raises(InvalidIdentifier, match="is not a valid name"):
        check_identifier("namespace", name)


@pytest.mark.parametrize("name", ["public", "mtdd", "pg_catalog", "information_schema", "postgres"])
def test_names_of_postgresql_and_of_the_shard_are_refused(name: str) -> None:
    with pytest.raises(InvalidIdentifier, match="reserved"):
        check_identifier("role", name)


def test_the_mark_names_the_shard_because_roles_are_shared_between_databases() -> None:
    one, other = mark(UUID(int=1)), mark(UUID(int=2))
    assert one != other
    assert one.startswith("django-mtdd tenant namespace of shard ")
