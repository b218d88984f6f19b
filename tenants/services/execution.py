"""Running any management command for a tenant."""

from collections.abc import Sequence
from contextlib import nullcontext
from typing import IO, Any

from django.core.management import get_commands, load_command_class
from django.core.management.base import BaseCommand, CommandError

from mtdd_router.context import maintenance, tenant_context
from tenants.services.changing import get_tenant

__all__ = ["run_for_tenant"]


def run_for_tenant(
    tenant: str,
    command: str,
    arguments: Sequence[str] = (),
    *,
    in_maintenance: bool = False,
    stdout: IO[str] | None = None,
    stderr: IO[str] | None = None,
) -> None:
    """Run a management command in the context of *tenant*.

    A command that takes ``--database`` is given the tenant there, unless *arguments*
    name another.

    Args:
        tenant: its name.
        command: the command's name.
        arguments: as they would be typed.
        in_maintenance: whether a tenant that is not active may be used.
        stdout: for what the command prints; its own by default.
        stderr: likewise.

    Raises:
        TenantDoesNotExist: naming it.
        CommandError: if there is no such command, its arguments are wrong, or it fails.
    """
    get_tenant(tenant)
    loaded = _load(command)
    parser = loaded.create_parser("manage.py", command)
    # Only if the command takes it: a stray option might disturb another command.
    if parser.get_default("database") is not None:
        parser.set_defaults(database=tenant)
    options: dict[str, Any] = vars(parser.parse_args(list(arguments)))
    positional = options.pop("args", ())
    if stdout is not None:
        options["stdout"] = stdout
    if stderr is not None:
        options["stderr"] = stderr
    with maintenance() if in_maintenance else nullcontext(), tenant_context(tenant):
        loaded.execute(*positional, **options)


def _load(name: str) -> BaseCommand:
    try:
        app = get_commands()[name]
    except KeyError:
        raise CommandError(f"There is no command {name!r}; `manage.py help` lists all.") from None
    return app if isinstance(app, BaseCommand) else load_command_class(app, name)
