"""The tenant and its shard in log records."""

import io
import logging
from typing import Any

import pytest

from mtdd_router import tenant_context
from mtdd_router.directory import directory
from mtdd_router.log_records import TenantFilter
from mtdd_router.types import Route


@pytest.fixture
def written() -> io.StringIO:
    return io.StringIO()


@pytest.fixture
def logger(written: io.StringIO) -> logging.Logger:
    handler = logging.StreamHandler(written)
    handler.setFormatter(logging.Formatter("%(tenant)s@%(shard)s %(message)s"))
    handler.addFilter(TenantFilter())
    made = logging.getLogger(f"shop.{id(written)}")
    made.setLevel(logging.INFO)
    made.addHandler(handler)
    return made


def test_a_record_has_its_tenant_and_shard(logger: logging.Logger, written: io.StringIO) -> None:
    directory.route("abc")
    with tenant_context("abc"):
        logger.info("sold")
        logger.info("told", extra={"tenant": "xyz"})
    with tenant_context("xyz"):
        logger.info("of a route that nobody has asked for")
    logger.info("nobody's")
    assert written.getvalue().splitlines() == [
        "abc@shard1 sold",
        "xyz@shard1 told",
        "xyz@- of a route that nobody has asked for",
        "-@- nobody's",
    ]


def test_the_registry_is_never_asked_for_a_record(
    logger: logging.Logger, settings: Any, registry: dict[str, Route]
) -> None:
    directory.route("abc")
    settings.MTDD_REGISTRY = "nothing.here"
    directory._entries["abc"] = entry = type("Old", (), {})()
    entry.route, entry.fresh_until = registry["abc"], 0.0
    with tenant_context("abc"):
        logger.info("stale, and good enough")
