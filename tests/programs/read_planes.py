"""Read all planes of a tenant, and print how many there were and by how much memory rose."""

import json
import sys

import django

django.setup()

import peak  # noqa: E402 - after the setup

from demo.flights.models import Plane  # noqa: E402

tenant, how = sys.argv[1:]
# The first query imports and caches what every later one needs.
assert Plane.objects.mtdd(tenant).first()
before = peak.reset()
planes = Plane.objects.mtdd(tenant)
count = sum(1 for _ in (planes.iterator() if how == "iterator" else planes.values_list("pk")))
print(json.dumps({"count": count, "growth": peak.peak() - before}))
