"""Generate the Python modules of protos/ into generated/; every build runs this file.

usage: python compile_protos.py [FOLDER]: FOLDER is the one that holds the package alpamayo_ros (default: this
source tree's). It needs nothing of this package, but either of two compilers:

- grpcio-tools of PyPI, where it is installed;
- else the system's protoc and grpc_python_plugin (apt: protobuf-compiler-grpc), which are of the same version
  as the system's python3-protobuf.

Debian's and Ubuntu's python3-grpc-tools is passed over: it is grpcio-tools 1.14 of 2018, whose modules no
protobuf of PyPI since 4.21 loads.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from importlib import metadata
from pathlib import Path

PACKAGE = "alpamayo_ros/sim/protocol/generated"
PROTOS = Path(__file__).resolve().parent / "protos"
OLDEST_GRPCIO_TOOLS = (1, 48)
"""The first whose protoc (3.19) writes modules that newer protobufs load."""


def compile_protos(root: Path) -> Path:
    """Write `root`/alpamayo_ros/sim/protocol/generated and return it; raises SystemExit if that fails."""
    compiler = find_compiler()
    folder = root / PACKAGE
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "__init__.py").write_text(
        '"""Generated from protos/; see compile_protos.py."""\n', encoding="utf-8"
    )
    files = [f"{PACKAGE}/{path.name}" for path in sorted(PROTOS.glob("*.proto"))]
    # The files are called by the place of their modules, so that these import each other by full name.
    arguments = [f"--proto_path={PACKAGE}={PROTOS}", f"--python_out={root}", f"--grpc_python_out={root}"]
    if subprocess.run([*compiler, *arguments, *files], check=False).returncode != 0:
        raise SystemExit("compile_protos: protoc failed")
    return folder


def find_compiler() -> list[str]:
    """Return the command that compiles protos to modules and gRPC stubs; raises SystemExit for none."""
    try:
        version = metadata.version("grpcio-tools")
    except metadata.PackageNotFoundError:
        found = "none"
    else:
        if tuple(int(part) for part in version.split(".")[:2]) >= OLDEST_GRPCIO_TOOLS:
            return [sys.executable, "-m", "grpc_tools.protoc"]
        found = version
    protoc, plugin = shutil.which("protoc"), shutil.which("grpc_python_plugin")
    if protoc is not None and plugin is not None:
        return [protoc, f"--plugin=protoc-gen-grpc_python={plugin}"]
    oldest = ".".join(str(part) for part in OLDEST_GRPCIO_TOOLS)
    raise SystemExit(
        f"compile_protos: expected grpcio-tools >= {oldest} (pip install grpcio-tools) or protoc and "
        f"grpc_python_plugin (apt install protobuf-compiler-grpc), got grpcio-tools {found}, "
        f"protoc {protoc or 'none'}, grpc_python_plugin {plugin or 'none'}"
    )


if __name__ == "__main__":
    destination = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parents[3]
    print(compile_protos(destination.resolve()))
