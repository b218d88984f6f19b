"""``python -m mtdd_router.embedded FOLDER``: run the stack of a folder until stopped.

``manage.py mtdd_up --detach`` starts this in the background. The DSNs of existing
PostgreSQL servers come from the environment, see ``StackOptions``.
"""

import argparse
import dataclasses
import os
import sys
import time
from pathlib import Path

from mtdd_router.embedded.errors import StackError
from mtdd_router.embedded.options import StackOptions
from mtdd_router.embedded.stack import Stack
from mtdd_router.embedded.supervisor import asked_to_stop, supervise


def _say(message: str) -> None:
    sys.stdout.write(f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')} {message}\n")
    sys.stdout.flush()


def main() -> int:
    """Run the stack; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m mtdd_router.embedded", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--shards", type=int)
    parser.add_argument("--data-dir", type=Path)
    parser.add_argument("--pool-size", type=int, default=20)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--settings", help="of the project whose jobs a worker does")
    given = parser.parse_args()
    options = dataclasses.replace(
        StackOptions.from_environment(os.environ),
        shards=given.shards,
        data_folder=given.data_dir,
        pool_size=given.pool_size,
        workers=given.workers,
        settings=given.settings,
    )
    stack = Stack(given.folder, options, report=_say)
    with asked_to_stop() as stop:
        try:
            stack.start()
        except StackError as exc:
            _say(str(exc))
            return 1
        try:
            supervise(stack, stop)
        finally:
            _say("Stopping.")
            stack.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
