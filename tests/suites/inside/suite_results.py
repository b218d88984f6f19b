"""A Django test runner that writes down what became of each test, for ``tests.suites``.

It runs in the environment of the suite, named by the setting TEST_RUNNER. SUITE_RESULTS
names the file: a JSON object on each line, with a test's id, outcome and detail. A test
that has several (of subtests) has several lines.
"""

import json
import os
import unittest
from pathlib import Path
from typing import Any

from django.test.runner import DiscoverRunner


class RecordingResult(unittest.TextTestResult):
    """Appends each outcome to the file as it comes, so that a crash loses none."""

    def _write(self, test: Any, outcome: str, detail: str = "") -> None:
        line = json.dumps({"test": test.id(), "outcome": outcome, "detail": detail})
        with Path(os.environ["SUITE_RESULTS"]).open("a", encoding="utf-8") as results:
            results.write(f"{line}\n")

    def addSuccess(self, test: Any) -> None:  # noqa: N802
        super().addSuccess(test)
        self._write(test, "passed")

    def addError(self, test: Any, err: Any) -> None:  # noqa: N802
        super().addError(test, err)
        self._write(test, "error", self.errors[-1][1])

    def addFailure(self, test: Any, err: Any) -> None:  # noqa: N802
        super().addFailure(test, err)
        self._write(test, "failed", self.failures[-1][1])

    def addSkip(self, test: Any, reason: str) -> None:  # noqa: N802
        super().addSkip(test, reason)
        self._write(test, "skipped", reason)

    def addExpectedFailure(self, test: Any, err: Any) -> None:  # noqa: N802
        super().addExpectedFailure(test, err)
        self._write(test, "expected failure", self.expectedFailures[-1][1])

    def addUnexpectedSuccess(self, test: Any) -> None:  # noqa: N802
        super().addUnexpectedSuccess(test)
        self._write(test, "unexpected success")

    def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:  # noqa: N802
        super().addSubTest(test, subtest, err)
        if err is not None:
            failed = issubclass(err[0], test.failureException)
            written = (self.failures if failed else self.errors)[-1][1]
            self._write(test, "failed" if failed else "error", f"{subtest}\n{written}")


class RecordingRunner(DiscoverRunner):
    """Django's own runner, with a result that is written down."""

    def get_resultclass(self) -> type[unittest.TextTestResult]:
        """Return the result class; debugging options are not for runs that are compared."""
        return RecordingResult
