"""``python -m mtdd_router.server``: start the shard server.

Exit codes: 0 after a drain, 1 if it cannot listen, 2 if a setting is wrong,
130 if it was interrupted while it started.
"""

import asyncio
import sys
from collections.abc import Sequence

from mtdd_router.errors import ConfigurationError
from mtdd_router.server.address import AddressInUse, reserve
from mtdd_router.server.config import load_config
from mtdd_router.server.logs import configure_logging
from mtdd_router.server.requirements import check_postgres
from mtdd_router.server.runtime_folder import runtime_folder
from mtdd_router.server.supervisor import run_workers

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the shard server, and return its exit code."""
    try:
        config = load_config(sys.argv[1:] if arguments is None else arguments)
        configure_logging(config.log_format, config.log_level)
        reservation = reserve(config.listen_address)
    except ConfigurationError as exc:
        return _refuse(str(exc), 2)
    except AddressInUse as exc:
        return _refuse(f"address: {exc}", 1)
    try:
        config.check_bound(reservation.addresses)
        asyncio.run(check_postgres(config))
        with runtime_folder() as folder:
            return run_workers(config, reservation.addresses, folder)
    except ConfigurationError as exc:
        return _refuse(str(exc), 2)
    except AddressInUse as exc:
        return _refuse(f"address: {exc}", 1)
    except KeyboardInterrupt:
        # Before the server listened for signals itself.
        return 130
    finally:
        reservation.close()


def _refuse(problems: str, code: int) -> int:
    for problem in problems.splitlines():
        sys.stderr.write(f"mtdd shard server: {problem}\n")
    return code


if __name__ == "__main__":
    sys.exit(main())
