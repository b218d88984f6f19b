"""What a tenant's namespace is called."""

import re

import pytest

from tenants.services.placement import new_namespace


@pytest.mark.parametrize("name", ["a", "abc", "a-b_c", "x" * 63])
def test_a_namespace_is_readable_and_a_valid_short_identifier(name):
    namespace = new_namespace(name)
    assert re.fullmatch(r"t_[a-z0-9_]{1,40}_[0-9a-f]{8}", namespace)
    assert namespace.startswith("t_" + name[:40].replace("-", "_"))


def test_a_namespace_is_new_each_time():
    assert len({new_namespace("abc") for _ in range(100)}) == 100
