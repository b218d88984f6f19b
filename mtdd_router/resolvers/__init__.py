"""How the tenant of a request is found.

A resolver is a callable: it takes the request and returns a tenant's name, or None if
it has nothing to say. It need not check the name, nor whether the tenant exists; the
middleware does. A resolver that may block (a query, a file) is run in a thread when
the request is served asynchronously; one with ``blocking = False`` is not.

Invariant: a resolver never takes a client's word where somebody else has to vouch for it:
a header is a trusted proxy's, a claim is verified, a host is one that Django allows.
"""

from mtdd_router.resolvers.header import HeaderResolver
from mtdd_router.resolvers.hosts import DomainResolver, SubdomainResolver
from mtdd_router.resolvers.loading import Resolver, is_blocking, load_resolvers, resolve
from mtdd_router.resolvers.path import PathResolver
from mtdd_router.resolvers.token import JWTResolver
from mtdd_router.resolvers.user import SessionResolver, UserResolver

__all__ = [
    "DomainResolver",
    "HeaderResolver",
    "JWTResolver",
    "PathResolver",
    "Resolver",
    "SessionResolver",
    "SubdomainResolver",
    "UserResolver",
    "is_blocking",
    "load_resolvers",
    "resolve",
]
