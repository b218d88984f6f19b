"""Django's sessions in signed cookies, good in one tenant only: for SESSION_ENGINE.

Invariant: a session is of the tenant in whose context its store was made, to the end.
"""

from functools import partial
from typing import Any

from django.contrib.sessions.backends import signed_cookies

from mtdd_router.context import current_tenant

__all__ = ["SessionStore"]


class _Serializer:
    """Writes the tenant beside the data, and reads only what has it.

    Args:
        plain: the class of the project's own serializer.
        tenant: its name, or None.
    """

    def __init__(self, plain: Any, tenant: str | None) -> None:
        self._plain = plain()
        self._tenant = tenant

    def dumps(self, data: Any) -> bytes:
        dumped: bytes = self._plain.dumps({"tenant": self._tenant, "data": data})
        return dumped

    def loads(self, dumped: bytes) -> Any:
        """Return the data.

        Raises:
            LookupError: if it is another tenant's; to Django that is no session.
        """
        content = self._plain.loads(dumped)
        if content["tenant"] != self._tenant:
            raise LookupError("The session is of another tenant.")
        return content["data"]


class SessionStore(signed_cookies.SessionStore):
    """As Django's."""

    def __init__(self, session_key: str | None = None) -> None:
        super().__init__(session_key)
        self.serializer = partial(_Serializer, self.serializer, current_tenant())
