"""``demo_login``: somebody who may use the local admin, and how to log in."""

import secrets
from pathlib import Path
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.core.management.base import BaseCommand, CommandError

_NAME = "admin"


class Command(BaseCommand):
    """Keep the password beside the stack, readable by its owner only."""

    help = "Make the superuser 'admin' of the local project, and print how to log in."

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("--url", default="http://127.0.0.1:8000/admin/")

    def handle(self, *args: Any, **options: Any) -> None:
        if not settings.DEBUG:
            raise CommandError("This is for development; use createsuperuser.")
        password = _password(Path(settings.MTDD_STACK_DIR) / "admin-password")
        user, _ = User.objects.using("default").get_or_create(
            username=_NAME, defaults={"is_staff": True, "is_superuser": True}
        )
        if not user.check_password(password):
            user.set_password(password)
            user.save()
        self.stdout.write(f"Admin: {options['url']}  user: {_NAME}  password: {password}")


def _password(kept: Path) -> str:
    if not kept.exists():
        kept.touch(mode=0o600)
        kept.write_text(secrets.token_urlsafe(9))
    return kept.read_text()
