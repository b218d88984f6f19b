"""The tenant and its shard in log records.

Invariant: nothing is asked of the registry for a record, and nothing else of the work is told.
"""

import logging
from typing import Final

from mtdd_router.context import current_tenant
from mtdd_router.directory import directory

__all__ = ["TenantFilter"]

_NONE: Final = "-"


class TenantFilter(logging.Filter):
    """Give each record ``tenant`` and ``shard``, a dash for none.

    ::

        LOGGING = {
            "filters": {"tenant": {"()": "mtdd_router.log_records.TenantFilter"}},
            "formatters": {"plain": {"format": "%(levelname)s %(tenant)s@%(shard)s %(message)s"}},
            "handlers": {"console": {..., "filters": ["tenant"], "formatter": "plain"}},
        }

    What a record has already, by ``extra={"tenant": ...}``, stays.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the attributes; let every record through."""
        tenant = current_tenant()
        route = None if tenant is None else directory.known(tenant)
        vars(record).setdefault("tenant", tenant or _NONE)
        vars(record).setdefault("shard", _NONE if route is None else route.shard)
        return True
