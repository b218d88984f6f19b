"""Read all planes of a tenant, and print how many there were and by how much memory rose."""

import contextlib
import json
import sys

import django

django.setup()

import peak  # noqa: E402 - after the setup
from django.db import transaction  # noqa: E402

from demo.flights.models import Plane  # noqa: E402

tenant, how = sys.argv[1:]
# The first query imports and caches what every later one needs.
assert Plane.objects.mtdd(tenant).first()
before = peak.reset()
planes = Plane.objects.mtdd(tenant)
inside = how == "iterator in a transaction"
with transaction.atomic(using=tenant) if inside else contextlib.nullcontext():
    count = sum(1 for _ in (planes.values_list("pk") if how == "list" else planes.iterator()))
print(json.dumps({"count": count, "growth": peak.peak() - before}))
