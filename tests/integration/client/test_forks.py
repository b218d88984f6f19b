"""Processes that fork while calls are open: no child dies, no parent is disturbed."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.client.conftest import Identity, StartPeer

PROGRAM = Path(__file__).resolve().parents[2] / "programs" / "forks.py"


@pytest.mark.parametrize("end", ["exit", "_exit"])
@pytest.mark.parametrize("tls", [False, True])
def test_children_of_a_busy_process_live_and_its_calls_go_on(
    start_peer: StartPeer, identities: dict[str, Identity], tls: bool, end: str
) -> None:
    mine = identities["server"]
    peer = start_peer(**({"certificate": mine.certificate, "key": mine.key} if tls else {}))
    authority = mine.certificate if tls else ""
    done = subprocess.run(
        [
            *(sys.executable, "-X", "dev"),
            # Since Python 3.12 it warns of what this tests.
            *("-W", "ignore:This process:DeprecationWarning"),
            *(str(PROGRAM), peer.address, authority, end),
        ],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "40 children, no failure\n", "")
