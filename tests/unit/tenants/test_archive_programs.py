"""Which of several installed programs is taken."""

import pytest

from tenants.errors import InvalidArchive, ProgramMissing
from tenants.services.archives.programs import choose_pg_dump, choose_pg_restore, choose_reader


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install programs that tell a version and do nothing else, in the places looked at."""

    def install(*, path="", named="", package=""):
        for place, version in (("path", path), ("named", named), ("package", package)):
            folder = tmp_path / place / "pginstall" / "bin"
            folder.mkdir(parents=True)
            for name in ("pg_dump", "pg_restore") if version else ():
                program = folder / name
                program.write_text(f"#!/bin/sh\necho '{name} (PostgreSQL) {version} (of a test)'\n")
                program.chmod(0o755)
        monkeypatch.setenv("PATH", str(tmp_path / "path" / "pginstall" / "bin"))
        monkeypatch.setenv("MTDD_POSTGRES_BIN", str(tmp_path / "named" / "pginstall" / "bin"))
        monkeypatch.setattr(
            "mtdd_router.client.programs.package_folder", lambda: tmp_path / "package"
        )

    return install


def test_the_oldest_pg_dump_that_can_is_taken(installed):
    installed(path="16.4", named="15.18", package="18.6")
    assert [choose_pg_dump(server).version for server in (14, 15, 16, 17, 18)] == [
        "15.18", "15.18", "16.4", "18.6", "18.6",
    ]  # fmt: skip


def test_a_pg_dump_that_is_older_than_the_server_is_no_use(installed, tmp_path):
    installed(path="15.18")
    with pytest.raises(ProgramMissing) as caught:
        choose_pg_dump(18)
    message = str(caught.value)
    assert message.startswith("No pg_dump of PostgreSQL 18 or newer was found; there is only /")
    assert f"{tmp_path}/path/pginstall/bin/pg_dump (15.18)" in message
    assert "MTDD_POSTGRES_BIN" in message
    assert "pip install 'django-mtdd[embedded]'" in message


def test_where_there_is_none_it_is_said_what_to_install(installed):
    installed()
    with pytest.raises(ProgramMissing, match=r"^No pg_restore of PostgreSQL was found\. Install"):
        choose_reader()


def test_an_old_server_gets_a_pg_restore_that_it_understands(installed):
    installed(path="16.4", package="18.6")
    assert choose_pg_restore(15, writer=15).version == "16.4"
    assert choose_pg_restore(17, writer=15).version == "18.6"
    assert choose_reader().version == "18.6"
    with pytest.raises(
        InvalidArchive, match="pg_dump 18 wrote cannot be restored to PostgreSQL 15"
    ):
        choose_pg_restore(15, writer=18)


def test_what_cannot_run_is_passed_over(installed, tmp_path):
    installed(path="garbled", named="18.1")
    (tmp_path / "package" / "pginstall" / "bin" / "pg_dump").write_text("not a program")
    assert choose_pg_dump(18).version == "18.1"
