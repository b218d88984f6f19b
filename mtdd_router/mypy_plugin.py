"""The mypy plugin: ``User.objects.mtdd("abc")`` is a queryset of User.

Works on top of django-stubs. List it before theirs::

    [tool.mypy]
    plugins = ["mtdd_router.mypy_plugin", "mypy_django_plugin.main"]

Invariants: ``mtdd`` is declared next to ``using`` on Django's managers and querysets,
with the same result type, so whatever django-stubs knows of ``using`` holds for it.
"""

from collections.abc import Callable
from typing import Final

from mypy.checker import TypeChecker
from mypy.nodes import ARG_POS, Argument, Block, FuncDef, PassStmt, Var
from mypy.plugin import ClassDefContext, MethodContext, Plugin
from mypy.types import CallableType, Instance, Type, get_proper_type
from mypy_django_plugin.transformers.managers import get_method_type_from_dynamic_manager

__all__ = ["MTDDPlugin", "plugin"]

_CLASSES: Final = frozenset({"django.db.models.manager.Manager", "django.db.models.query.QuerySet"})
_MODEL_METHOD: Final = "using"
_METHOD: Final = "mtdd"
_ARGUMENT: Final = "tenant"


class MTDDPlugin(Plugin):
    """Declare ``mtdd`` on managers and querysets."""

    def get_customize_class_mro_hook(
        self, fullname: str
    ) -> Callable[[ClassDefContext], None] | None:
        """Act on the two classes of Django, before mypy reads their bodies."""
        return _declare if fullname in _CLASSES else None

    def get_method_hook(self, fullname: str) -> Callable[[MethodContext], Type] | None:
        """Act on calls on managers made with ``from_queryset``, which return their own class."""
        return _of_dynamic_manager if fullname.endswith(f".{_METHOD}") else None


def _declare(ctx: ClassDefContext) -> None:
    body = ctx.cls.defs.body
    methods = {node.name: node for node in body if isinstance(node, FuncDef)}
    model = methods.get(_MODEL_METHOD)
    if model is None or _METHOD in methods:
        return
    signature = model.unanalyzed_type
    if not isinstance(signature, CallableType):
        return
    text = next(
        (part for part in getattr(signature.arg_types[1], "items", ()) if not _is_none(part)),
        signature.arg_types[1],
    )
    method = FuncDef(
        _METHOD,
        [
            Argument(Var("self"), None, None, ARG_POS),
            Argument(Var(_ARGUMENT), text, None, ARG_POS),
        ],
        Block([PassStmt()]),
        signature.copy_modified(
            arg_types=[signature.arg_types[0], text], arg_names=["self", _ARGUMENT], name=_METHOD
        ),
    )
    method.set_line(model)
    body.append(method)


def _is_none(part: Type) -> bool:
    return str(part).startswith("None")


def _of_dynamic_manager(ctx: MethodContext) -> Type:
    manager = get_proper_type(ctx.type)
    if not isinstance(manager, Instance) or not isinstance(ctx.api, TypeChecker):
        return ctx.default_return_type
    found = get_method_type_from_dynamic_manager(ctx.api, _MODEL_METHOD, manager)
    return found.ret_type if isinstance(found, CallableType) else ctx.default_return_type


def plugin(_version: str) -> type[Plugin]:
    """Return the plugin's class: mypy's entry point."""
    return MTDDPlugin
