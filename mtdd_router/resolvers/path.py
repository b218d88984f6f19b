"""The tenant in the path."""

from typing import ClassVar, Final

from django.conf import settings
from django.http import HttpRequest
from django.urls import get_script_prefix, set_script_prefix

__all__ = ["PathResolver"]


# To relative URLs Django adds the script prefix when they are first asked for, and keeps that for
# the whole process: it must not be a tenant's.
_PREFIXED: Final = ("STATIC_URL", "MEDIA_URL")


class PathResolver:
    """Take the tenant from the path: ``/t/abc/orders/`` for the prefix ``t``.

    The URLconf sees ``/orders/``, and ``reverse()`` gives ``/t/abc/orders/``, because
    the matched part becomes the script prefix. With an empty prefix the first segment
    of every path is a tenant.
    """

    blocking: ClassVar[bool] = False

    def __init__(self, prefix: str = "t") -> None:
        stripped = prefix.strip("/")
        self.start = f"/{stripped}/" if stripped else "/"

    def __call__(self, request: HttpRequest) -> str | None:
        path = request.path_info
        if not path.startswith(self.start):
            return None
        tenant, slash, rest = path.removeprefix(self.start).partition("/")
        if not tenant or not slash:
            # "/t/abc" is left to whoever appends slashes or answers with 404.
            return None
        for name in _PREFIXED:
            getattr(settings, name)
        request.path_info = f"/{rest}"
        set_script_prefix(f"{get_script_prefix().rstrip('/')}{self.start}{tenant}/")
        return tenant
