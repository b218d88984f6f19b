"""Run the local project: ``demo`` loads and proves, ``up`` serves the admin.

A stack that this starts is stopped at the end, however it ends; one that ran before
goes on running. ``demo`` serves the admin, too, if a person sits at the terminal.
"""

import argparse
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from types import FrameType

ROOT = Path(__file__).resolve().parent.parent
HOST, PORT = "127.0.0.1", 8000


def manage(*arguments: str) -> int:
    """Run a management command; return its exit status."""
    return subprocess.run(
        [sys.executable, "manage.py", *arguments], cwd=ROOT, check=False
    ).returncode


def is_running() -> bool:
    """Tell whether a stack is running already."""
    done = subprocess.run(
        [sys.executable, "manage.py", "mtdd_status"], cwd=ROOT, check=False, capture_output=True
    )
    return done.returncode == 0


def free_port() -> int:
    """Return 8000, or the next port on which nobody listens."""
    for port in range(PORT, PORT + 100):
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) != 0:
                return port
    raise SystemExit(f"No port from {PORT} on is free.")


def serve() -> int:
    """Serve the project until Ctrl-C."""
    port = free_port()
    print(flush=True)
    status = manage("demo_login", "--url", f"http://{HOST}:{port}/admin/")
    if status != 0:
        return status
    print(f"Pages: http://{HOST}:{port}/   Ctrl-C stops everything; the data stays.", flush=True)
    server = subprocess.Popen(
        [sys.executable, "manage.py", "runserver", "--noreload", f"{HOST}:{port}"], cwd=ROOT
    )
    try:
        return server.wait()
    except KeyboardInterrupt:
        return 0
    finally:
        server.terminate()
        server.wait()


def demo() -> int:
    """Load and prove; then serve, if somebody is there to look."""
    status = manage("demo")
    if status == 0:
        status = manage("demo_login")
    if status == 0 and sys.stdin.isatty() and not os.environ.get("CI"):
        return serve()
    if status == 0:
        print("See it in a browser: make up")
    return status


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("demo", "up"))
    what = parser.parse_args().what
    signal.signal(signal.SIGTERM, _interrupt)
    found_running = is_running()
    status = 1
    try:
        status = manage("mtdd_up", "--detach")
        if status == 0:
            status = demo() if what == "demo" else serve()
    except KeyboardInterrupt:
        status = 130
    finally:
        if not found_running:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            manage("mtdd_down")
    return status


if __name__ == "__main__":
    sys.exit(main())
