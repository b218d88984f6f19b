"""The package itself: what it exports, and what importing it does not do."""

import subprocess
import sys

import pytest

import mtdd_router
from mtdd_router import errors


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_exported_name_is_there() -> None:
    for name in mtdd_router.__all__:
        assert getattr(mtdd_router, name) is not None


def test_every_exception_is_exported() -> None:
    assert set(errors.__all__) <= set(mtdd_router.__all__)


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="nothing_like_it"):
        _ = mtdd_router.nothing_like_it


def test_importing_it_in_a_settings_module_touches_neither_django_nor_settings() -> None:
    out = run_python(
        "import sys, mtdd_router\n"
        "mtdd_router.databases({'default': {'ENGINE': 'django.db.backends.postgresql'}})\n"
        "print(sorted(name for name in sys.modules if name.split('.')[0] in ('django', 'tenants')))"
    )
    assert out.strip() == "[]"


def test_importing_its_lazy_names_leaves_settings_unconfigured_and_models_unloaded() -> None:
    out = run_python(
        "from mtdd_router import tenant_context, current_tenant, maintenance, TenantRouter\n"
        "from django.conf import settings\n"
        "from django.apps import apps\n"
        "print(settings.configured, apps.ready, current_tenant())"
    )
    assert out.strip() == "False False None"


def test_databases_is_the_function_even_after_its_module_was_imported() -> None:
    out = run_python(
        "import mtdd_router.databases\n"
        "from mtdd_router.databases import Databases\n"
        "import mtdd_router\n"
        "print(isinstance(mtdd_router.databases({'default': {}}), Databases))"
    )
    assert out.strip() == "True"


def test_a_process_that_serves_requests_does_not_load_what_operations_need() -> None:
    out = run_python(
        "import os, sys, django\n"
        "os.environ['DJANGO_SETTINGS_MODULE'] = 'settings.test'\n"
        "django.setup()\n"
        "import tenants.admin\n"
        "wanted = ('tenants.services.migrating.runs', 'tenants.services.archives', 'grpc')\n"
        "print([name for name in wanted if name in sys.modules])"
    )
    assert out.strip() == "[]"
