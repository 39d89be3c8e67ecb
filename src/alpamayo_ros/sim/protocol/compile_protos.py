"""Generate the Python modules of protos/ into generated/; every build runs this file.

usage: python compile_protos.py [FOLDER]: FOLDER is the one that holds the package alpamayo_ros (default: this
source tree's). It needs grpcio-tools, or an apt-installed python3-grpc-tools, and nothing of this package.
"""

from __future__ import annotations

import sys
from pathlib import Path

PACKAGE = "alpamayo_ros/sim/protocol/generated"
PROTOS = Path(__file__).resolve().parent / "protos"


def compile_protos(root: Path) -> Path:
    """Write `root`/alpamayo_ros/sim/protocol/generated and return it; raises SystemExit if protoc fails."""
    import grpc_tools
    from grpc_tools import protoc

    folder = root / PACKAGE
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "__init__.py").write_text(
        '"""Generated from protos/; see compile_protos.py."""\n', encoding="utf-8"
    )
    files = [f"{PACKAGE}/{path.name}" for path in sorted(PROTOS.glob("*.proto"))]
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    # The files are called by the place of their modules, so that these import each other by full name.
    arguments = [f"--proto_path={PACKAGE}={PROTOS}", f"--proto_path={well_known}"]
    arguments += [f"--python_out={root}", f"--grpc_python_out={root}"]
    if protoc.main(["protoc", *arguments, *files]) != 0:
        raise SystemExit("compile_protos: protoc failed")
    return folder


if __name__ == "__main__":
    destination = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[3]
    print(compile_protos(destination.resolve()))
