"""The shard server, which notes what it would refuse if each statement were a tenant's.

It refuses nothing. A suite's statements are an operator's, on whole databases; see
`tests.suites.refusals`, which reads the notes.
"""

import atexit
import json
import os
import sys
from pathlib import Path
from typing import Final

from mtdd_router.server import examination, requests
from mtdd_router.server.__main__ import main
from mtdd_router.server.statements import ORDINARY, Statement, classify

NOTES: Final = "MTDD_SUITE_NOTES"

_seen: dict[str, int] = {"statements": 0, "ordinary": 0}
_refused: dict[str, str] = {}


def _noting(statement: bytes) -> Statement:
    known = classify(statement)
    _seen["statements"] += 1
    if known is ORDINARY:
        _seen["ordinary"] += 1
    elif known.refusal:
        _refused.setdefault(statement.decode("utf-8", "replace"), known.refusal)
    return known


def _leave() -> None:
    Path(os.environ[NOTES]).write_text(json.dumps({**_seen, "refused": _refused}))


if __name__ == "__main__":
    examination.classify = _noting  # type: ignore[attr-defined]
    examination.look = lambda _: None  # type: ignore[attr-defined]
    requests.classify = _noting  # type: ignore[attr-defined]
    atexit.register(_leave)
    sys.exit(main())
