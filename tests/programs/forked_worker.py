"""Open connections to tenants, fork a worker as Celery does, and let both use them.

    forked_worker.py TENANT...

Prints two lines of JSON, the child's and the parent's: what went wrong, and whose rows each
tenant has.
"""

import json
import os
import sys
from typing import Any

import django

django.setup()

from celery.fixups.django import DjangoWorkerFixup  # noqa: E402 - after the setup
from django.contrib.auth.models import User  # noqa: E402
from django.db import connections  # noqa: E402

from tests.programs.celery_app import app  # noqa: E402

tenants = sys.argv[1:]


def found() -> list[str]:
    return [user.username for tenant in tenants for user in User.objects.using(tenant).all()]


def report(**what: Any) -> None:
    print(json.dumps(what), flush=True)


found()
child = os.fork()
if child == 0:
    wrong = []
    try:
        DjangoWorkerFixup(app).on_worker_process_init()
    except Exception as exc:
        wrong.append(repr(exc))
    left = [alias for alias in tenants if connections[alias].connection is not None]
    report(wrong=wrong, left=left, found=[found(), found()])
    os._exit(0)
os.waitpid(child, 0)
report(found=found())
connections.close_all()
