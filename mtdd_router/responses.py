"""What a response does after its view has returned, in the tenant of its request.

A web server asks for content when the request is over, step by step. Invariants: each step
finds what the one before it left, and its consumer sees nothing of it; content that is not
read to its end is closed likewise.
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from typing import Any

from django.http import FileResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.urls import get_script_prefix, set_script_prefix

from mtdd_router.context import ResumedScope

__all__ = ["resumed", "script_prefix_kept"]


@contextmanager
def script_prefix_kept() -> Iterator[None]:
    """Leave the script prefix as it was."""
    before = get_script_prefix()
    try:
        yield
    finally:
        set_script_prefix(before)


class _Later:
    """Whatever a response does later, as the request that it answers, step by step."""

    def __init__(self) -> None:
        self.scope = ResumedScope()
        self.prefix = get_script_prefix()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        with script_prefix_kept(), self.scope.step():
            set_script_prefix(self.prefix)
            yield

    def iterate(self, parts: Iterator[bytes]) -> Iterator[bytes]:
        # Not `for`: the context must be left while the consumer has the item.
        while True:
            with self():
                try:
                    part = next(parts)
                except StopIteration:
                    return
            yield part


class _LaterAsync:
    """Asynchronous content of a response; who stops iterating over it closes it."""

    def __init__(self, later: _Later, parts: AsyncIterator[bytes]) -> None:
        self.later = later
        self.parts = parts

    async def __aiter__(self) -> AsyncIterator[bytes]:
        parts, later = self.parts, self.later
        try:
            while True:
                with later():
                    try:
                        part = await anext(parts)
                    except StopAsyncIteration:
                        return
                yield part
        finally:
            # Else the garbage collector would do it, in nobody's context.
            if (aclose := getattr(parts, "aclose", None)) is not None:
                with later():
                    await aclose()


def resumed(response: HttpResponseBase) -> HttpResponseBase:
    """Make a streaming response produce its content, and close, in the context of now."""
    if not isinstance(response, StreamingHttpResponse):
        return response
    if isinstance(response, FileResponse) and _is_a_file(response.file_to_stream):
        return response  # Wrapped, it could not be sent by the web server itself.
    later = _Later()
    content: Any = response.streaming_content
    if response.is_async:
        response.streaming_content = _LaterAsync(later, aiter(content))
    else:
        response.streaming_content = later.iterate(iter(content))
    close = response.close

    def close_later() -> None:
        with later():
            close()

    response.close = close_later  # type: ignore[method-assign]
    return response


def _is_a_file(stream: Any) -> bool:
    """Return whether the operating system knows *stream*, so that a web server can send it."""
    try:
        return stream is not None and isinstance(stream.fileno(), int)
    except (AttributeError, OSError, ValueError):
        return False
