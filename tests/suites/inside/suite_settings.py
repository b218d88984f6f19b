"""A suite's own settings for its tests, named by SUITE_SETTINGS, on this run's databases."""

import json
import os
from importlib import import_module

_own = import_module(os.environ["SUITE_SETTINGS"])
globals().update({name: value for name, value in vars(_own).items() if name.isupper()})

_databases = json.loads(os.environ["SUITE_DATABASES"])
DATABASES = {alias: _databases[alias] for alias in _own.DATABASES}
TEST_RUNNER = "suite_results.RecordingRunner"
