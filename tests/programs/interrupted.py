"""Run a long query, be interrupted as by Ctrl-C, and use the same connection again."""

import sys
import time

import django

django.setup()

from django.contrib.auth.models import User  # noqa: E402 - after the setup
from django.db import connections, transaction  # noqa: E402

tenant, mode = sys.argv[1:]


def sleep() -> None:
    print("sleeping", flush=True)
    with connections[tenant].cursor() as cursor:
        cursor.execute("SELECT pg_sleep(30)")


User.objects.mtdd(tenant).create(username="before")
started = time.monotonic()
try:
    if mode == "transaction":
        with transaction.atomic(using=tenant):
            User.objects.mtdd(tenant).create(username="rolled-back")
            sleep()
    else:
        sleep()
except KeyboardInterrupt:
    print("interrupted", flush=True)
took = time.monotonic() - started
assert took < 10, took
wrapper = connections[tenant]
names = sorted(User.objects.mtdd(tenant).values_list("username", flat=True))
assert names == ["before"], names
with transaction.atomic(using=tenant):
    User.objects.mtdd(tenant).create(username="after")
assert connections[tenant] is wrapper
print("usable", flush=True)
