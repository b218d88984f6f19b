"""Statements of many megabytes that the ORM writes."""

from collections.abc import Callable
from typing import Any

from django.contrib.sessions.models import Session
from django.db import connections
from django.db.models import Sum
from django.db.models.functions import Length
from django.utils import timezone

from tenants.models import Tenant

ROWS, CHARACTERS = 5_000, 10 * 1024 + 500
FIFTY_MEGABYTES = 50 << 20


def test_a_bulk_create_of_fifty_megabytes_is_one_statement(
    tenant_factory: Callable[..., Tenant],
) -> None:
    tenant_factory("bulky", shard="shard1")
    executed = []

    def note(execute: Any, statement: str, *rest: Any) -> Any:
        executed.append(statement.partition(" ")[0])
        return execute(statement, *rest)

    with connections["bulky"].execute_wrapper(note):
        Session.objects.using("bulky").bulk_create(
            Session(
                session_key=f"key-{number}",
                session_data=f"{number:>{CHARACTERS}}",
                expire_date=timezone.now(),
            )
            for number in range(ROWS)
        )
    assert executed == ["INSERT"]
    stored = Session.objects.using("bulky")
    total = stored.aggregate(total=Sum(Length("session_data")))["total"]
    assert total == ROWS * CHARACTERS > FIFTY_MEGABYTES
    assert stored.get(session_key="key-4999").session_data.strip() == "4999"
