"""``python -m benchmarks.migrating``: migrating tenants, beside django-tenants.

Both sides use one PostgreSQL and the apps contenttypes, auth, sessions, admin and one of
their own; each is a process of its own. The first tenant that a process creates is told by
itself: it imports the migrations, and ours runs them by Django. It needs the extra ``bench``.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import servers

ROOT = Path(__file__).resolve().parent.parent
APPS = [
    "django.contrib.contenttypes",
    "django.contrib.auth",
    "django.contrib.sessions",
    "django.contrib.admin",
    "django.contrib.messages",
    "benchmarks.shop",
]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tenants", type=int, default=1000, help="Of ours.")
    parser.add_argument("--peer-tenants", type=int, default=100, help="Of django-tenants.")
    options = parser.parse_args()
    with ExitStack() as stack:
        postgres = stack.enter_context(servers.started())
        addresses = {}
        for name in ("shard1", "shard2"):
            dsn = postgres.create_shard_database(name)
            shard = stack.enter_context(servers.Shard(dsn, root=ROOT))
            addresses[name] = shard.address
        measured = {}
        for side, tenants in (("peer", options.peer_tenants), ("ours", options.tenants)):
            postgres.create_database(side)
            measured[side] = _side(
                side, postgres.folder, postgres.port, tenants, json.dumps(addresses)
            )
    print(json.dumps(measured, indent=2))
    _compare(measured)


def _side(*arguments: object) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "benchmarks.migrating_side", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def timed(action: Callable[[], Any]) -> float:
    """Return how many seconds *action* takes."""
    started = time.perf_counter()
    action()
    return time.perf_counter() - started


def _compare(measured: dict[str, dict[str, float]]) -> None:
    peer, ours = measured["peer"], measured["ours"]
    fastest = min(peer["add_field_standard"], peer["add_field_multiprocessing"])
    for name, theirs, mine in (
        ("create the first", peer["create_first"], ours["create_first"]),
        ("create another", peer["create"], ours["create"]),
        ("of a list", peer["create"], ours["create_list"]),
        ("one AddField", fastest, ours["add_field"]),
        ("nothing to migrate", peer["nothing"], ours["nothing"]),
        ("delete a tenant", peer["delete"], ours["delete_softly"]),
        ("purge many due ones", peer["delete"], ours["delete_list"]),
        ("delete and purge one", peer["delete"], ours["delete"]),
    ):
        print(
            f"{name:20} django-tenants {theirs * 1000:8.2f} ms a tenant, "
            f"ours {mine * 1000:8.2f} ms, {theirs / mine:5.1f} times faster"
        )


if __name__ == "__main__":
    main()
