"""Django's test runner, which also prepares for tenants, and drops them in the end.

Without it tests with tenants work as well; but an embedded stack is then one for each
process of ``--parallel``, and what those made stays on a running stack until the next run.
"""

from typing import Any

from django.db import DEFAULT_DB_ALIAS, connections
from django.test.runner import DiscoverRunner
from django.test.utils import iter_test_cases  # type: ignore[attr-defined] # not in the stubs

from tenants.testing.cases import TenantTestCase, TransactionTenantTestCase
from tenants.testing.provisioning import test_tenants
from tenants.testing.shards import stop_embedded

__all__ = ["TenantDiscoverRunner", "TenantRunnerMixin"]


class TenantRunnerMixin(DiscoverRunner):
    """For a runner of one's own: put it before the base class."""

    _any = False

    def get_databases(self, suite: Any) -> Any:
        """Note whether any test has tenants; see Django."""
        self._any = any(
            isinstance(test, TenantTestCase | TransactionTenantTestCase)
            for test in iter_test_cases(suite)
        )
        return super().get_databases(suite)

    def setup_databases(self, **kwargs: Any) -> Any:
        """Make the databases, and find the shards, before processes are started."""
        configured = super().setup_databases(**kwargs)
        if self._any:
            test_tenants.begin(keep=self.keepdb)
        return configured

    def teardown_databases(self, old_config: Any, **kwargs: Any) -> None:
        """Drop the tenants of all processes, unless databases are kept, and the databases."""
        try:
            if self._any and not self.keepdb:
                creation = connections[DEFAULT_DB_ALIAS].creation
                clones = range(1, self.parallel + 1) if self.parallel > 1 else ()
                test_tenants.drop(
                    creation.get_test_db_clone_settings(str(number))["NAME"] for number in clones
                )
        finally:
            super().teardown_databases(old_config, **kwargs)
            stop_embedded()


class TenantDiscoverRunner(TenantRunnerMixin):
    """For the setting TEST_RUNNER."""
