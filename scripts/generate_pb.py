"""Generate mtdd_router/pb/ from protos/.

``--check`` writes nothing and fails if the committed code differs.
"""

import argparse
import filecmp
import pathlib
import re
import sys
import tempfile
from importlib import resources

from grpc_tools import protoc

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROTOS = ROOT / "protos"
PACKAGE = "mtdd_router.pb"
DESTINATION = ROOT / "mtdd_router" / "pb"


def generate(destination: pathlib.Path) -> None:
    """Write the modules of every proto file, flat, into *destination*."""
    sources = sorted(str(path.relative_to(PROTOS)) for path in PROTOS.rglob("*.proto"))
    with tempfile.TemporaryDirectory() as scratch:
        well_known = resources.files("grpc_tools") / "_proto"
        arguments = [
            "protoc",
            f"--proto_path={PROTOS}",
            f"--proto_path={well_known}",
            f"--python_out={scratch}",
            f"--pyi_out={scratch}",
            *sources,
        ]
        if protoc.main(arguments) != 0:
            raise SystemExit("protoc failed")
        for module in pathlib.Path(scratch).rglob("*_pb2.py*"):
            text = module.read_text()
            text = re.sub(r"from mtdd\.v1 import (\w+_pb2)", rf"from {PACKAGE} import \1", text)
            (destination / module.name).write_text(text)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare instead of writing")
    if not parser.parse_args().check:
        generate(DESTINATION)
        return 0
    with tempfile.TemporaryDirectory() as scratch:
        generate(pathlib.Path(scratch))
        names = {path.name for path in pathlib.Path(scratch).iterdir()}
        committed = {path.name for path in DESTINATION.glob("*_pb2.py*")}
        _, differing, missing = filecmp.cmpfiles(scratch, DESTINATION, names, shallow=False)
        stale = sorted({*differing, *missing, *(committed - names)})
    if stale:
        print(f"not what protos/ gives: {', '.join(stale)}; run scripts/generate_pb.py")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
