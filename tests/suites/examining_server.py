"""The shard server, which notes what it would refuse if each statement were a tenant's.

It refuses nothing. A suite's statements are an operator's, on whole databases; see
`tests.suites.refusals`, which reads the notes.
"""

import json
import os
import sys
from multiprocessing import util
from pathlib import Path
from typing import Final

from mtdd_router.server import examination, requests
from mtdd_router.server.__main__ import main
from mtdd_router.server.statements import ORDINARY, Statement, classify

NOTES: Final = "MTDD_SUITE_NOTES"


class _Notes:
    """What the worker process has seen; only it examines statements."""

    def __init__(self) -> None:
        self.statements = self.ordinary = 0
        self.refused: dict[str, str] = {}
        util.register_after_fork(self, _Notes._leave_at_exit)

    def classify(self, statement: bytes) -> Statement:
        known = classify(statement)
        self.statements += 1
        if known is ORDINARY:
            self.ordinary += 1
        elif known.refusal:
            self.refused.setdefault(statement.decode("utf-8", "replace"), known.refusal)
        return known

    def _leave_at_exit(self) -> None:
        # A process of multiprocessing's passes over what atexit knows.
        util.Finalize(None, self._leave, exitpriority=0)

    def _leave(self) -> None:
        Path(os.environ[NOTES]).write_text(json.dumps(vars(self)))


if __name__ == "__main__":
    notes = _Notes()
    examination.classify = notes.classify  # type: ignore[attr-defined]
    examination.look = lambda _: None  # type: ignore[attr-defined]
    requests.classify = notes.classify  # type: ignore[attr-defined]
    sys.exit(main())
