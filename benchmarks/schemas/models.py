from django_tenants.models import DomainMixin, TenantMixin


class Client(TenantMixin):
    auto_drop_schema = True


class Domain(DomainMixin):
    pass
