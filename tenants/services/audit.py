"""Writing down who changes what of the registry.

Invariants: an entry is written in the transaction of the change that it tells of, so there
is never one without the other; a change that spans registry and shard is written with the
registry's row. Details hold names and settings, never anything of a tenant's data.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import datetime, timedelta
from typing import Any, Final

from django.db import DEFAULT_DB_ALIAS
from django.utils import timezone

from tenants.errors import EntryTooYoung
from tenants.models import AuditEntry
from tenants.services.operator import operator

__all__ = ["KEPT_DAYS", "acting", "audit_entries", "expire_entries", "note", "note_each"]

KEPT_DAYS: Final = 90
"""How long an entry cannot be deleted; the migration tells PostgreSQL the same."""

_WHO_LENGTH: Final = 200
_actor: Final[ContextVar[str]] = ContextVar("tenants_actor", default="")


@contextmanager
def acting(who: str) -> Iterator[None]:
    """Let *who* be noted for what is changed in this block, and in threads that it starts.

    Elsewhere it is the user of the system and the process.
    """
    token = _actor.set(who)
    try:
        yield
    finally:
        _actor.reset(token)


def note(action: str, *, tenant: str = "", shard: str = "", **details: object) -> None:
    """Write that *action* is done; to be called in the transaction that does it.

    Args:
        action: in words that stay the same, such as ``create tenant``.
        tenant: its name, if it is about one.
        shard: its name, likewise.
        details: what was asked for; values that JSON knows.
    """
    _entry(action, tenant=tenant, shard=shard, details=details).save(using=DEFAULT_DB_ALIAS)


def note_each(action: str, tenants: Iterable[str], **details: object) -> None:
    """Write, as `note` does, that *action* is done to each of *tenants*."""
    AuditEntry.objects.using(DEFAULT_DB_ALIAS).bulk_create(
        [_entry(action, tenant=tenant, details=details) for tenant in tenants]
    )


def audit_entries(
    *, tenant: str = "", shard: str = "", since: datetime | None = None, limit: int = 0
) -> list[AuditEntry]:
    """Return entries, the last first.

    Args:
        tenant: only those about it, by whatever name it had then.
        shard: only those about it.
        since: only those from then on.
        limit: at most so many; zero for all.
    """
    entries = AuditEntry.objects.using(DEFAULT_DB_ALIAS).all()
    if tenant:
        entries = entries.filter(tenant=tenant)
    if shard:
        entries = entries.filter(shard=shard)
    if since is not None:
        entries = entries.filter(at__gte=since)
    return list(entries[:limit] if limit else entries)


def _entry(action: str, **what: Any) -> AuditEntry:
    return AuditEntry(who=(_actor.get() or operator())[:_WHO_LENGTH], action=action, **what)


def expire_entries(days: int) -> int:
    """Delete the entries that are older than so many *days*; return how many those were.

    Raises:
        EntryTooYoung: if some would be younger than PostgreSQL lets go.
    """
    if days < KEPT_DAYS:
        raise EntryTooYoung(
            f"Entries of the audit log are kept for {KEPT_DAYS} days at least, not {days}."
        )
    old = AuditEntry.objects.using(DEFAULT_DB_ALIAS).filter(
        at__lt=timezone.now() - timedelta(days=days)
    )
    deleted, _ = old.delete()
    return deleted
