"""Fork many children beside threads that are busy with calls, which go on meanwhile.

Usage: forks.py ADDRESS AUTHORITY END: TLS if there is an authority; children leave by
``exit`` or ``_exit``. Exits 0 if every process got the answers to its own questions.
"""

import os
import sys
import threading
import time

from mtdd_router.client.call import Call
from mtdd_router.client.endpoint import TLS, Endpoint

CHILDREN, THREADS = 40, 4
address, authority, end = sys.argv[1:]
endpoint = Endpoint(address, tls=TLS(authority) if authority else None)
failures: list[str] = []
stopping = threading.Event()


def begin() -> Call:
    call = Call(endpoint, "/test.Peer/Talk", limit=20.0)
    call.receive()
    call.unlimited()
    return call


def ask(call: Call, rounds: int) -> None:
    for number in range(rounds):
        question = f"{os.getpid()} {threading.get_ident()} {number}".encode() * 50
        call.send(question)
        if call.receive() != question:
            failures.append("another's answer")


def work() -> None:
    try:
        with begin() as call:
            while not stopping.is_set():
                ask(call, 10)
    except BaseException as exc:
        failures.append(repr(exc))


def in_child() -> int:
    # The parent's is closed here, and asking on it harms nobody.
    if inherited.alive:
        return 2
    ask(begin(), 5)
    return 1 if failures else 0


inherited = begin()
threads = [threading.Thread(target=work) for _ in range(THREADS)]
for thread in threads:
    thread.start()
time.sleep(0.2)
statuses = []
for _ in range(CHILDREN):
    child = os.fork()
    if child == 0:
        status = in_child()
        os._exit(status) if end == "_exit" else sys.exit(status)
    ask(inherited, 1)
    statuses.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
stopping.set()
for thread in threads:
    thread.join()
ask(inherited, 10)
inherited.close()
print(f"{len(statuses)} children, {failures or 'no failure'}")
sys.exit(any(statuses) or bool(failures))
