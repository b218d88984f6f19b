"""The layers of docs and design: imports point downward only.

    tenants, contrib -> routing -> backend -> dbapi -> client -> wire -> pb;
    server -> wire, pb

``errors`` and ``types`` are for everyone; ``embedded`` stands beside them all. Imports
inside functions and under TYPE_CHECKING count as well: a layer is a promise, not a
matter of when.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
EVERYONE = frozenset({"errors", "types"})
ALLOWED: dict[str, frozenset[str]] = {
    "errors": frozenset(),
    "types": frozenset({"errors"}),
    "pb": frozenset({"pb"}),
    "wire": EVERYONE | {"wire", "pb"},
    "client": EVERYONE | {"client", "wire", "pb"},
    "dbapi": EVERYONE | {"dbapi", "client", "wire", "pb"},
    "backend": EVERYONE | {"backend", "dbapi", "client", "wire", "pb"},
    "routing": EVERYONE | {"routing", "backend", "dbapi", "client", "wire", "pb"},
    "contrib": EVERYONE | {"contrib", "routing"},
    "server": EVERYONE | {"server", "wire", "pb"},
    "embedded": frozenset({"errors", "embedded", "client"}),
    "tenants": EVERYONE | {"tenants", "routing", "client", "embedded"},
}
# The commands that start PostgreSQL and shard servers, and the tests of users' projects;
# nothing else of the registry.
MAY_IMPORT_EMBEDDED = ("tenants/management/", "tenants/testing/")
# The command that becomes a shard server.
EXCEPTIONS = frozenset({("tenants/management/commands/run_shard.py", "server")})
WITHOUT_DJANGO = frozenset({"errors", "types", "pb", "wire", "client", "server", "embedded"})
WITH_GRPC = frozenset({"server"})
WITH_PB = frozenset({"wire", "client", "server", "pb"})


def modules() -> Iterator[Path]:
    for package in ("mtdd_router", "tenants"):
        yield from sorted((ROOT / package).rglob("*.py"))


def layer_of(dotted: str) -> str | None:
    """Return the layer of a module of ours, None for anybody else's."""
    parts = dotted.split(".")
    if parts[0] == "tenants":
        return "tenants"
    if parts[0] != "mtdd_router":
        return None
    named = parts[1] if len(parts) > 1 else ""
    return named if named in ALLOWED and named not in {"routing", "tenants"} else "routing"


def dotted_name(path: Path) -> str:
    relative = path.relative_to(ROOT).with_suffix("")
    return ".".join(part for part in relative.parts if part != "__init__")


def imports(path: Path) -> Iterator[tuple[str, int]]:
    """Yield every dotted name that the module imports, with its line."""
    for node in ast.walk(ast.parse(path.read_text(), str(path))):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno} is a relative import"
            assert node.module is not None
            for alias in node.names:
                # ``from mtdd_router import errors`` imports mtdd_router.errors.
                inside = f"{node.module}.{alias.name}"
                is_module = node.module in {"mtdd_router", "mtdd_router.pb", "tenants"}
                yield (inside if is_module and is_ours(inside) else node.module), node.lineno


def is_ours(dotted: str) -> bool:
    path = ROOT.joinpath(*dotted.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def found_imports() -> list[tuple[str, str, str]]:
    """Return (place, importing layer, imported name) of all imports of all modules."""
    found = []
    for path in modules():
        layer = layer_of(dotted_name(path))
        assert layer is not None
        place = str(path.relative_to(ROOT))
        found += [(f"{place}:{line}", layer, name) for name, line in imports(path)]
    return found


IMPORTS = found_imports()


def test_every_import_points_downward() -> None:
    wrong = [
        f"{place} ({layer}) imports {name} ({layer_of(name)})"
        for place, layer, name in IMPORTS
        if layer_of(name) is not None
        and layer_of(name) not in ALLOWED[layer]
        and (place.rpartition(":")[0], layer_of(name)) not in EXCEPTIONS
    ]
    assert not wrong, "\n".join(wrong)


def test_mtdd_router_never_imports_the_registry() -> None:
    assert not [
        place
        for place, layer, name in IMPORTS
        if layer != "tenants" and layer_of(name) == "tenants"
    ]


def test_only_the_stack_commands_and_the_tools_for_tests_import_the_embedded_stack() -> None:
    assert not [
        place
        for place, layer, name in IMPORTS
        if layer == "tenants"
        and layer_of(name) == "embedded"
        and not place.startswith(MAY_IMPORT_EMBEDDED)
    ]


@pytest.mark.parametrize("layer", sorted(WITHOUT_DJANGO))
def test_a_layer_below_the_backend_imports_no_django(layer: str) -> None:
    assert not [
        place
        for place, importing, name in IMPORTS
        if importing == layer and name.split(".")[0] == "django"
    ]


def test_grpcio_is_the_servers() -> None:
    assert not [
        place
        for place, layer, name in IMPORTS
        if name.split(".")[0] in {"grpc", "grpc_health", "grpc_reflection"}
        and layer not in WITH_GRPC
    ]


def test_generated_messages_are_imported_only_where_they_are_made_and_read() -> None:
    assert not [
        place for place, layer, name in IMPORTS if layer_of(name) == "pb" and layer not in WITH_PB
    ]


def test_every_module_says_what_it_is_for() -> None:
    silent = [
        str(path.relative_to(ROOT))
        for path in modules()
        if "pb" not in path.parts
        and "migrations" not in path.parts
        and ast.get_docstring(ast.parse(path.read_text())) is None
    ]
    assert not silent
