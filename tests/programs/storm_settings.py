"""Settings of the programs of the storm: those of the others, and its app."""

from project_settings import *

INSTALLED_APPS = [*INSTALLED_APPS, "tests.apps.storm"]
TENANT_APPS = [*TENANT_APPS, "tests.apps.storm"]
# Every query would be kept.
DEBUG = False
