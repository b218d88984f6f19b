"""Kombu's transport of files, whose messages are there as a whole or not at all.

Kombu's own writes a message where a reader may find it half written, and then the worker fails.
"""

from pathlib import Path
from time import monotonic_ns
from typing import Any
from uuid import uuid4

from kombu.transport import filesystem
from kombu.utils.json import dumps


class Channel(filesystem.Channel):
    def _put(self, queue: str, payload: Any, **_: Any) -> None:
        path = Path(self.data_folder_out) / f"{monotonic_ns()}_{uuid4()}.{queue}.msg"
        part = path.with_suffix(".part")
        part.write_text(dumps(payload))
        part.rename(path)


class Transport(filesystem.Transport):
    Channel = Channel
