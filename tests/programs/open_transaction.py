"""Write a row in a transaction, say so, and leave it open until killed."""

import sys

import django

django.setup()

from django.contrib.auth.models import User  # noqa: E402 - after the setup
from django.db import transaction  # noqa: E402

tenant = sys.argv[1]
with transaction.atomic(using=tenant):
    User.objects.mtdd(tenant).create(username="unfinished")
    print("open", flush=True)
    sys.stdin.read()
