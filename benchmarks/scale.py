"""``python -m benchmarks.scale``: the life of ten thousand tenants on two shards.

They are created, migrated by three migrations (one with code), checked and deleted, each
by a process of its own, whose peak memory is printed beside its rate.
"""

import argparse
import json
import os
import subprocess
import sys
from contextlib import ExitStack

from benchmarks import servers
from benchmarks.migrating import ROOT

STAGES = ("create", "migrate", "nothing", "check", "delete", "purge")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tenants", type=int, default=10_000)
    parser.add_argument("--parallel", type=int, default=2, help="At a time, in all.")
    options = parser.parse_args()
    with ExitStack() as stack:
        postgres = stack.enter_context(servers.started())
        addresses = {}
        for name in ("shard1", "shard2"):
            dsn = postgres.create_shard_database(name)
            addresses[name] = stack.enter_context(servers.Shard(dsn, root=ROOT)).address
        postgres.create_database("registry")
        print(f"{'':10} {'seconds':>9} {'a second':>9} {'ms each':>9} {'peak MB':>9}")
        for stage in STAGES:
            what = json.dumps(
                {
                    "stage": stage,
                    "folder": str(postgres.folder),
                    "port": postgres.port,
                    "addresses": addresses,
                    "tenants": options.tenants,
                    "parallel": options.parallel,
                }
            )
            found = _run(what)
            seconds, rate = found["seconds"], options.tenants / found["seconds"]
            print(
                f"{stage:10} {seconds:9.1f} {rate:9.1f} {1000 / rate:9.2f} {found['peak_mb']:9.0f}",
                flush=True,
            )


def _run(what: str) -> dict[str, float]:
    done = subprocess.run(
        [sys.executable, "-P", "-m", "benchmarks.scale_side", what],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


if __name__ == "__main__":
    main()
