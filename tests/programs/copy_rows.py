"""COPY rows of a kilobyte into a tenant's database or out of it; print by how much memory rose."""

import json
import sys

import django

django.setup()

import peak  # noqa: E402 - after the setup
from django.db import connections  # noqa: E402

tenant, direction, rows = sys.argv[1], sys.argv[2], int(sys.argv[3])
LINE = b"x" * 1023 + b"\n"
LINES_A_WRITE = 64

with connections[tenant].cursor() as cursor:
    # It keeps the session, and is gone with it.
    cursor.execute("CREATE TEMP TABLE copied (line text)")
    before = peak.reset()
    if direction == "in":
        with cursor.copy("COPY copied FROM STDIN") as copy:
            for _ in range(rows // LINES_A_WRITE):
                copy.write(LINE * LINES_A_WRITE)
        count = cursor.rowcount
    else:
        query = f"SELECT repeat('x', 1023) FROM generate_series(1, {rows})"
        with cursor.copy(f"COPY ({query}) TO STDOUT") as copy:
            count = sum(len(block) for block in copy) // len(LINE)
    growth = peak.peak() - before
print(json.dumps({"count": count, "growth": growth}))
