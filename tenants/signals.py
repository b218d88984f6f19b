"""Signals of a tenant's life; the sender is always ``tenants.models.Tenant``.

::

    from tenants import signals as tenant_signals


    @receiver(tenant_signals.initial_data)
    def first_page(tenant, **kwargs):
        Page.objects.create(title="Welcome")

A receiver of a ``pre_`` signal is called when all else allows the operation and nothing
is begun. If it raises, the operation is refused, with OperationRefused.

A receiver of a ``post_`` signal is called when the operation is done, and the tenant free
for the next one. If it raises, that is logged by Django, told to whoever ran the command
or used the admin, and undoes nothing.

`initial_data` is sent while a tenant is created: its tables are there, and the receiver
runs in its context, so queries need not name it. It answers nobody else yet. If a receiver
raises, the creation is undone; after an interruption, too, the tenant is removed rather
than left with half of its data. What only one tenant starts with is an argument of
``tenants.services.create_tenant``.

A tenant that is restored or cloned is created, too, with the rows that it brings: it gets
``pre_create`` and ``post_create``, and no `initial_data`.

Every receiver is given ``name``, the tenant's name, and:

========================================  =============================================
``pre_create``                            ``shard``, ``isolation``
``initial_data``, ``post_create``         ``tenant``
``pre_rename``                            ``tenant``, ``new_name``
``post_rename``                           ``tenant``, ``old_name``; ``name`` is the new one
``pre_migrate``                           ``shard``; for each tenant that has something to
                                          migrate, again if it is tried again
``post_migrate``                          ``shard``, ``changed``; once for each tenant that
                                          was migrated, when its batch is done
all others                                ``tenant``
========================================  =============================================

``shard`` is a shard's name, ``tenant`` a row, that of a purged tenant without its key.
``changed`` are the migrations, ``app.name``. What repair completes is not told again: its
``pre_`` signal was sent by the operation that was interrupted.
"""

from typing import Final

from django.dispatch import Signal

__all__ = [
    "TenantSignal",
    "initial_data",
    "post_create",
    "post_delete",
    "post_freeze",
    "post_migrate",
    "post_purge",
    "post_rename",
    "post_undelete",
    "post_unfreeze",
    "pre_create",
    "pre_delete",
    "pre_freeze",
    "pre_migrate",
    "pre_purge",
    "pre_rename",
    "pre_undelete",
    "pre_unfreeze",
]


class TenantSignal(Signal):
    """A signal that knows its name, for messages."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name


pre_create: Final = TenantSignal("pre_create")
initial_data: Final = TenantSignal("initial_data")
post_create: Final = TenantSignal("post_create")
pre_rename: Final = TenantSignal("pre_rename")
post_rename: Final = TenantSignal("post_rename")
pre_freeze: Final = TenantSignal("pre_freeze")
post_freeze: Final = TenantSignal("post_freeze")
pre_unfreeze: Final = TenantSignal("pre_unfreeze")
post_unfreeze: Final = TenantSignal("post_unfreeze")
pre_delete: Final = TenantSignal("pre_delete")
post_delete: Final = TenantSignal("post_delete")
pre_undelete: Final = TenantSignal("pre_undelete")
post_undelete: Final = TenantSignal("post_undelete")
pre_purge: Final = TenantSignal("pre_purge")
post_purge: Final = TenantSignal("post_purge")
pre_migrate: Final = TenantSignal("pre_migrate")
post_migrate: Final = TenantSignal("post_migrate")
