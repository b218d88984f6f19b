"""Query, fork workers as gunicorn does, and let parent and children go on querying.

Every worker writes rows of its own, from several threads, some in transactions; the
parent does the same beside them. Exits 0 if every process saw what it wrote.
"""

import os
import sys
import threading
import traceback

import django

django.setup()

from django.contrib.auth.models import User  # noqa: E402 - after the setup
from django.db import connections, transaction  # noqa: E402

WORKERS, THREADS, ROUNDS = 3, 4, 10
tenant = sys.argv[1]


def write(who: str, failures: list[str]) -> None:
    try:
        for number in range(ROUNDS):
            name = f"{who}-{number}"
            with transaction.atomic(using=tenant):
                User.objects.mtdd(tenant).create(username=name)
            found = User.objects.mtdd(tenant).filter(username=name).count()
            if found != 1:
                failures.append(f"{name} is there {found} times")
    except BaseException:
        failures.append(traceback.format_exc())
    finally:
        connections.close_all()


def work(who: str) -> int:
    failures: list[str] = []
    # The thread that forked, with the connection that it had before, and new ones.
    write(who, failures)
    threads = [
        threading.Thread(target=write, args=(f"{who}-{number}", failures))
        for number in range(THREADS)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for failure in failures:
        print(f"{who}: {failure}", flush=True)
    return 1 if failures else 0


User.objects.mtdd(tenant).create(username="before")
# A thread that has used the connections and ended, as a preloaded application may have.
warm = threading.Thread(target=write, args=("warm", []))
warm.start()
warm.join()
children = []
for number in range(WORKERS):
    child = os.fork()
    if child == 0:
        status = 1
        try:
            status = work(f"child{number}")
        finally:
            os._exit(status)
    children.append(child)
statuses = [work("parent")]
statuses += [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
print(statuses, flush=True)
sys.exit(any(statuses))
