"""Touch every tenant, and print how many there were and by how much memory rose."""

import gc
import json

import django

django.setup()

import peak  # noqa: E402 - after the setup
from django.db import connections  # noqa: E402

from demo.flights.models import Plane  # noqa: E402
from mtdd_router.directory import directory  # noqa: E402
from tenants.models import Tenant  # noqa: E402

names = list(Tenant.objects.values_list("name", flat=True))


def touch(name: str) -> None:
    assert directory.route(name).tenant == name
    assert connections[name].alias == name
    assert str(Plane.objects.mtdd(name).filter(seats=1).query)


touch(names[0])
gc.collect()
before = peak.reset()
# Each name by a query of its own would take its time, and the same memory.
directory.preload()
for name in names:
    touch(name)
print(json.dumps({"count": len(names), "growth": peak.peak() - before}))
