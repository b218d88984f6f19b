"""A normal user runs a stack as root does; where the tests run as root, somebody else is one."""

import os
import pwd
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.projects import ROOT, Project

pytestmark = pytest.mark.skipif(
    os.geteuid() != 0, reason="all other tests run as a normal user then"
)
USER = "nobody"


@pytest.fixture
def project(stack_folder: Path) -> Project:
    """The project as *USER*, by an interpreter and packages that they can reach."""
    account = pwd.getpwnam(USER)
    packages = [path for path in sys.path if path.endswith("-packages")]
    project = Project(
        stack_folder,
        environment={
            "PYTHONPATH": os.pathsep.join((str(ROOT), *packages)),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": str(stack_folder.parent),
        },
        process={"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []},
    )
    shutil.chown(stack_folder.parent, account.pw_uid, account.pw_gid)
    system_python = f"/usr/bin/python{sys.version_info.major}.{sys.version_info.minor}"
    for project.python in (sys.executable, system_python):
        try:
            project.manage("mtdd_down")
        except (OSError, AssertionError):
            continue
        return project
    pytest.skip(f"{USER!r} can reach no Python {sys.version_info.major}.{sys.version_info.minor}")


def test_a_normal_user_runs_a_stack(project: Project) -> None:
    try:
        assert project.ask("mtdd_up", "--detach", "--shards", "1")["healthy"]
        assert project.ask("create_tenant", "abc")["state"] == "active"
        assert project.ask("check_shards")["agrees"]
        assert {path.owner() for path in project.folder.rglob("*")} == {USER}
        owners = subprocess.run(
            ["ps", "-o", "user=", "-p", str(project.ask("mtdd_status")["supervisor_pid"])],
            check=True,
            capture_output=True,
            text=True,
        )
        assert owners.stdout.strip() == USER
    finally:
        project.manage("mtdd_down")
