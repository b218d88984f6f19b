"""A program that was started for a process ends when that process has died, however it died."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from mtdd_router.embedded.processes import wait_until

PATIENCE = 20.0
# Starts a program that tells which signal ended it, and says its id.
STARTER = """
import os, signal, sys
from pathlib import Path
from mtdd_router.embedded.processes import spawn

program = '''
import signal, sys, time
def tell(number, frame):
    print("ended by", signal.Signals(number).name, flush=True)
    sys.exit()
for number in (signal.SIGINT, signal.SIGTERM):
    signal.signal(number, tell)
print("runs", flush=True)
time.sleep(120)
'''
def start(log):
    return spawn(
        [sys.executable, "-c", program], log=Path(log), environment={}, death_signal=signal.SIGINT
    )
"""
Start = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def start() -> Iterator[Start]:
    """Run code that may use `start(log)`; what it printed first is read."""
    with contextlib.ExitStack() as cleanup:

        def run(code: str) -> "subprocess.Popen[str]":
            process = cleanup.enter_context(
                subprocess.Popen(
                    [sys.executable, "-c", STARTER + code],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            cleanup.callback(process.kill)
            return process

        yield run


def read_id(process: "subprocess.Popen[str]") -> psutil.Process:
    assert process.stdout is not None
    return psutil.Process(int(process.stdout.readline()))


def ended(program: psutil.Process) -> bool:
    try:
        return program.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def says(log: Path, text: str) -> bool:
    return wait_until(lambda: log.exists() and text in log.read_text(), timeout=PATIENCE)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, None], ids=str)
def test_a_program_gets_its_signal_when_its_starter_is_gone(
    start: Start, tmp_path: Path, how: signal.Signals | None
) -> None:
    log = tmp_path / "log"
    starter = start(f"print(start({str(log)!r}).pid, flush=True); sys.stdin.read(); os._exit(0)")
    program = read_id(starter)
    assert says(log, "runs")
    if how is None:
        starter.communicate("")
    else:
        starter.send_signal(how)
    assert wait_until(lambda: ended(program), timeout=PATIENCE)
    assert log.read_text() == "runs\nended by SIGINT\n"


def test_a_starter_that_dies_at_once_leaves_nothing(start: Start, tmp_path: Path) -> None:
    # The program is perhaps not even itself yet.
    starter = start(
        f"print(start({str(tmp_path / 'log')!r}).pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    program = read_id(starter)
    assert wait_until(lambda: ended(program), timeout=PATIENCE)


def test_a_reaper_that_was_killed_is_replaced(start: Start, tmp_path: Path) -> None:
    log = tmp_path / "log"
    starter = start(
        f"print(start({str(tmp_path / 'first')!r}).pid, flush=True)\n"
        "sys.stdin.readline()\n"
        f"print(start({str(log)!r}).pid, flush=True)\n"
        "sys.stdin.read()"
    )
    first = read_id(starter)
    assert says(tmp_path / "first", "runs")
    (reaper,) = [
        child
        for child in psutil.Process(starter.pid).children()
        if any("reaper.py" in part for part in child.cmdline()) and child != first
    ]
    reaper.kill()
    assert wait_until(lambda: ended(reaper), timeout=PATIENCE)
    assert starter.stdin is not None
    starter.stdin.write("\n")
    starter.stdin.flush()
    second = read_id(starter)
    assert says(log, "runs")
    starter.kill()
    assert wait_until(lambda: ended(second), timeout=PATIENCE)
    first.kill()


def test_a_child_that_was_forked_does_not_keep_the_programs_of_its_dead_parent_alive(
    start: Start, tmp_path: Path
) -> None:
    log = tmp_path / "log"
    starter = start(
        f"print(start({str(log)!r}).pid, flush=True)\n"
        "import time\n"
        "if not (child := os.fork()):\n"
        "    time.sleep(60)\n"
        "    os._exit(0)\n"
        "print(child, flush=True)\n"
        "sys.stdin.read()"
    )
    program, child = read_id(starter), read_id(starter)
    try:
        assert says(log, "runs")
        starter.kill()
        assert wait_until(lambda: ended(program), timeout=PATIENCE)
        assert not ended(child)
    finally:
        child.kill()


def test_the_reaper_ends_with_the_last_program(start: Start, tmp_path: Path) -> None:
    starter = start(f"print(start({str(tmp_path / 'log')!r}).pid, flush=True); sys.stdin.read()")
    read_id(starter)
    family = psutil.Process(starter.pid).children()
    assert len(family) == 2
    starter.kill()
    assert wait_until(lambda: all(map(ended, family)), timeout=PATIENCE)
    assert os.getpid() not in {process.pid for process in family}
