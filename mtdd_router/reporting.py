"""What Django's error pages and mails must not show.

Django hides settings and variables of the environment whose names say that they are secret.
A connection string holds a password, and its name does not say so.
"""

import re

from django.views.debug import SafeExceptionReporterFilter

__all__ = ["ConnectionStringsFilter"]


class ConnectionStringsFilter(SafeExceptionReporterFilter):
    """For DEFAULT_EXCEPTION_REPORTER_FILTER: hides what is named DSN or URL of a database, too."""

    hidden_settings = re.compile(
        SafeExceptionReporterFilter.hidden_settings.pattern + "|DSN|DATABASE_URL",
        flags=re.IGNORECASE,
    )
