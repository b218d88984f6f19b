"""Processes that fork while calls are open: no child dies, no parent is disturbed."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.client.conftest import Peer

PROGRAM = Path(__file__).resolve().parents[2] / "programs" / "forks.py"


@pytest.mark.parametrize("end", ["exit", "_exit"])
def test_children_of_a_busy_process_live_and_its_calls_go_on(peer: Peer, end: str) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "dev", str(PROGRAM), peer.address, "", end],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "40 children, no failure\n", "")
