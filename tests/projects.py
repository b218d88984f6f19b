"""This project as somebody runs it who types its commands."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PATIENCE = 120.0


@dataclass
class Project:
    """This project, with a stack in *folder*.

    Args:
        python: the interpreter.
        environment: what differs from that of the tests.
        process: more arguments of `Popen`.
    """

    folder: Path
    python: str = sys.executable
    environment: Mapping[str, str] = field(default_factory=dict)
    process: Mapping[str, Any] = field(default_factory=dict)

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        """Start manage.py."""
        return subprocess.Popen(
            [self.python, "manage.py", *arguments],
            cwd=ROOT,
            env={
                **os.environ,
                "DJANGO_SETTINGS_MODULE": "settings.local",
                "MTDD_STACK_DIR": str(self.folder),
                **self.environment,
            },
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            **self.process,
        )

    def manage(self, *arguments: str, code: int = 0) -> str:
        """Run manage.py, which must end with *code*; return what it printed."""
        process = self.start(*arguments)
        output, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == code, output + errors
        return output if code == 0 else output + errors

    def ask(self, *arguments: str, code: int = 0) -> Any:
        """Run manage.py with --json; return the one document that it printed."""
        process = self.start(*arguments, "--json")
        output, errors = process.communicate(timeout=PATIENCE)
        assert process.returncode == code, output + errors
        return json.loads(output)
