"""The admin of shards and tenants, on real shards."""

import pytest
from django.contrib.auth.models import User
from django.urls import reverse

from tenants.models import Tenant


@pytest.fixture
def staff(client, registered_shards):
    user = User.objects.db_manager("default").create_superuser("admin", "a@example.com", "pw")
    client.force_login(user)
    return client


def test_creating_a_tenant_provisions_it(staff):
    answer = staff.post(
        reverse("admin:tenants_tenant_add"),
        {"name": "abc", "shard": "", "isolation": "schema", "_continue": "1"},
        follow=True,
    )
    assert answer.status_code == 200, answer
    print(answer.content.decode()[-6000:])
    assert Tenant.objects.get().state == "active"
    assert User.objects.using("abc").count() == 0
    for page in ("admin:tenants_tenant_changelist", "admin:tenants_shard_changelist"):
        got = staff.get(reverse(page))
        assert got.status_code == 200
    got = staff.get(reverse("admin:tenants_tenant_delete", args=[Tenant.objects.get().pk]))
    assert "Type <strong>abc</strong>" in got.content.decode()
    print(got.content.decode()[-3000:])
