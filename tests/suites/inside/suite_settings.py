"""Settings of Django's own suite: what it asks for, and the databases of this run.

Source: Django's contribution guide, "Unit tests", "Using another settings module".
"""

import json
import os

DATABASES = json.loads(os.environ["SUITE_DATABASES"])
DEFAULT_AUTO_FIELD = "django.db.models.AutoField"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
# Some tests expect what is signed with this one.
SECRET_KEY = "django_tests_secret_key"
TEST_RUNNER = "suite_results.RecordingRunner"
USE_TZ = False
