"""Which tenants Django's test cases take for aliases that a test may use.

To Django's own test cases a tenant is a database that the test has not declared, and they
refuse it. `tenants.testing` declares the tenants that it makes; these are for others.
"""

from contextlib import AbstractContextManager

from mtdd_router.backend.showing import leaving_out, showing

__all__ = ["allow_tenants", "declare_tenants"]


def allow_tenants(*names: str) -> AbstractContextManager[None]:
    """Let tests use these tenants in the block, without names any, undeclared.

    For tests that make tenants themselves. Nothing is rolled back there, and what such a
    test has opened must be closed when it ends, as a TransactionTestCase does.
    """
    return leaving_out(names or None)


def declare_tenants(*names: str) -> AbstractContextManager[None]:
    """Let iterating over Django's `connections` give these tenants in the block.

    So a test case may have them in its `databases`. The block is to be around all that the
    class does, from before its setUpClass.
    """
    return showing(names)
