"""How many roles a shard makes ahead."""

import pytest

from mtdd_router.server.spare_roles import MOST, _batch_size


@pytest.mark.parametrize(
    ("tenants", "roles"), [(0, 0), (49, 0), (50, 64), (2048, 64), (3200, 100), (10**6, MOST)]
)
def test_batches_grow_with_the_tenants(tenants: int, roles: int) -> None:
    assert _batch_size(tenants) == roles
