"""The build and set-up scripts: the package's manifest, the editable install, and what the scripts refuse."""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import ModuleType

import pytest

from alpamayo_ros import __version__

ROOT = Path(__file__).resolve().parents[1]
SCRIPTS = ROOT / "scripts"
PROTOCOL = ROOT / "src" / "alpamayo_ros" / "sim" / "protocol"
DISTRIBUTIONS = ("humble", "jazzy", "kilted", "lyrical")


def _load_script(name: str, folder: Path = SCRIPTS) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, folder / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _build_requirements() -> list[str]:
    command = [sys.executable, SCRIPTS / "build_requirements.py"]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()


# --- What the manifests say --------------------------------------------------------------------------


def test_one_version_everywhere() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    assert re.findall(r'^version = "(.*)"$', pyproject, re.MULTILINE) == [__version__]
    assert ElementTree.parse(ROOT / "package.xml").getroot().findtext("version") == __version__


@pytest.mark.parametrize("distribution", DISTRIBUTIONS)
def test_package_xml_names_one_torch_a_distribution(distribution: str) -> None:
    package_format = pytest.importorskip("catkin_pkg.package")
    package = package_format.parse_package(str(ROOT / "package.xml"))
    package.evaluate_conditions({"ROS_DISTRO": distribution})
    keys = {d.name for d in package.exec_depends if d.evaluated_condition}
    wanted = {
        "rclpy",
        "launch",
        "launch_ros",
        "cv_bridge",
        "sensor_msgs_py",
        "tf_transformations",
        "python3-numpy",
    }
    assert wanted | {"python3-transformers-pip", "tf2_msgs"} <= keys
    torch = "python3-torch" if distribution == "lyrical" else "python3-pytorch-pip"
    assert {key for key in keys if "torch" in key} == {torch}


def test_the_build_requires_every_package_whose_messages_ours_contain() -> None:
    contained = set()
    for file in [*ROOT.glob("msg/*.msg"), *ROOT.glob("srv/*.srv"), *ROOT.glob("wheels/*/msg/*.msg")]:
        contained |= set(
            re.findall(r"^([a-z][a-z0-9_]*)/[A-Z]", file.read_text(encoding="utf-8"), re.MULTILINE)
        )
    assert contained
    missing = {f"ros-kilted-{name.replace('_', '-')}" for name in contained} - set(_build_requirements())
    assert not missing
    cmake = (ROOT / "CMakeLists.txt").read_text(encoding="utf-8")
    assert all(f"find_package({name} REQUIRED)" in cmake for name in contained)


def test_the_stack_needs_none_of_what_it_is_not_to_need() -> None:
    pyproject = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    for name in ("torchvision", "hydra", "flash-attn", "flash_attn", "einops"):
        assert f'"{name}' not in pyproject


def test_every_node_has_an_executable_where_it_is_installed() -> None:
    """Of this very environment: an editable install, a wheel, or a colcon workspace."""
    prefixes = [*os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep), sys.prefix]
    folders = [
        Path(p) / "lib" / "alpamayo_ros" for p in prefixes if p and (Path(p) / "lib/alpamayo_ros").is_dir()
    ]
    assert folders, "alpamayo_ros is installed nowhere: run `make setup`"
    modules = (ROOT / "src/alpamayo_ros/nodes").glob("[a-z]*.py")
    nodes = {path.stem for path in modules if "\ndef main(" in path.read_text(encoding="utf-8")}
    assert {path.name for path in folders[0].iterdir()} == nodes
    assert all(os.access(path, os.X_OK) for path in folders[0].iterdir())


# --- install_torch.py --------------------------------------------------------------------------------


class _Pip:
    """Stands in for pip: an index that has `offers` (requirement -> packages it would install)."""

    def __init__(self, offers: dict[str, list[str]]) -> None:
        self.offers = offers
        self.installed: list[list[str]] = []

    def planned(self, requirement: str) -> list[str] | None:
        return self.offers.get(requirement)

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        self.installed.append(list(arguments))
        return subprocess.CompletedProcess(arguments, 0, "")


CPU_BUILD = ["torch", "sympy", "filelock"]
CUDA_BUILD = [*CPU_BUILD, "nvidia-cublas", "triton"]


@pytest.mark.parametrize(
    ("options", "driver", "offers", "arguments"),
    [
        ([], False, {"torch==2.13.0": CPU_BUILD}, ["torch==2.13.0"]),
        ([], False, {"torch==2.13.0": CUDA_BUILD}, ["torch==2.13.0", "--index-url", "CPU"]),
        ([], True, {"torch==2.13.0": CUDA_BUILD}, ["torch==2.13.0"]),
        (["--device", "cpu"], True, {"torch==2.13.0": CUDA_BUILD}, ["torch==2.13.0", "--index-url", "CPU"]),
        (["--device", "cuda"], False, {"torch==2.13.0": CUDA_BUILD}, ["torch==2.13.0"]),
        (["--version", "2.9.1"], False, {"torch==2.9.1": CPU_BUILD}, ["torch==2.9.1"]),
        ([], False, {"torch>=2.4": CPU_BUILD}, ["torch>=2.4"]),
    ],
)
def test_which_torch_is_installed(
    monkeypatch: pytest.MonkeyPatch,
    options: list[str],
    driver: bool,
    offers: dict[str, list[str]],
    arguments: list[str],
) -> None:
    script = _load_script("install_torch")
    pip = _Pip(offers)
    monkeypatch.setattr(script.metadata, "version", _not_installed)
    monkeypatch.setattr(script, "has_nvidia_driver", lambda: driver)
    monkeypatch.setattr(script, "planned_packages", pip.planned)
    monkeypatch.setattr(script, "pip", pip)
    wants_cuda = "cuda" in options or (driver and "cpu" not in options)
    monkeypatch.setattr(script, "installed_build", lambda: ("2.13.0", "13.0" if wants_cuda else None))
    monkeypatch.setattr(script, "CPU_INDEX_URL", "CPU")
    monkeypatch.setattr(sys, "argv", ["install_torch.py", *options])
    assert script.main() == 0
    assert pip.installed == [["install", "--quiet", *arguments]]


def _not_installed(name: str) -> str:
    from importlib.metadata import PackageNotFoundError

    raise PackageNotFoundError(name)


def test_an_installed_torch_is_kept(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = _load_script("install_torch")
    monkeypatch.setattr(script.metadata, "version", lambda name: "2.5.1")
    monkeypatch.setattr(script, "pip", lambda *_: pytest.fail("asked pip"))
    monkeypatch.setattr(sys, "argv", ["install_torch.py", "--device", "cuda"])
    assert script.main() == 0
    assert "torch 2.5.1 is installed already and kept" in capsys.readouterr().out


def test_no_such_torch_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = _load_script("install_torch")
    monkeypatch.setattr(script.metadata, "version", _not_installed)
    monkeypatch.setattr(script, "planned_packages", lambda requirement: None)
    monkeypatch.setattr(sys, "argv", ["install_torch.py", "--device", "cpu", "--version", "9.9"])
    assert script.main() == 1
    assert "no such torch" in capsys.readouterr().err


def test_a_cpu_build_where_cuda_was_wanted_is_an_error(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = _load_script("install_torch")
    monkeypatch.setattr(script.metadata, "version", _not_installed)
    monkeypatch.setattr(script, "planned_packages", lambda requirement: CPU_BUILD)
    monkeypatch.setattr(script, "pip", _Pip({}))
    monkeypatch.setattr(script, "installed_build", lambda: ("2.13.0+cpu", None))
    monkeypatch.setattr(sys, "argv", ["install_torch.py", "--device", "cuda"])
    assert script.main() == 1
    assert "An NVIDIA GPU was wanted" in capsys.readouterr().err


# --- The modules of AlpaSim's protocol ---------------------------------------------------------------


def test_every_build_has_a_compiler_of_protos() -> None:
    assert any(line.startswith("grpcio-tools>=") for line in _build_requirements())
    tools = ElementTree.parse(ROOT / "package.xml").getroot().findall("buildtool_depend")
    assert "protobuf-compiler-grpc" in {tool.text for tool in tools}


def _descriptor(module: Path) -> bytes:
    """Return the serialised descriptor that a generated module holds; all else depends on the compiler."""
    (text,) = re.findall(r"AddSerializedFile\((b'.*')\)$", module.read_text(encoding="utf-8"), re.MULTILINE)
    descriptor = ast.literal_eval(text)
    assert isinstance(descriptor, bytes)
    return descriptor


def test_the_installed_modules_are_those_of_the_protos(tmp_path: Path) -> None:
    """Of this very environment: an editable install, a wheel, or a colcon workspace."""
    from alpamayo_ros.sim.protocol import generated

    command = [sys.executable, PROTOCOL / "compile_protos.py", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    fresh = Path(done.stdout.strip())
    assert fresh == tmp_path / "alpamayo_ros/sim/protocol/generated"
    names = {path.stem for path in (PROTOCOL / "protos").glob("*.proto")}
    assert len(names) == 7
    stubs = {f"{name}_pb2{suffix}.py" for name in names for suffix in ("", "_grpc")}
    assert {path.name for path in fresh.iterdir()} == {"__init__.py", *stubs}
    (installed,) = map(Path, generated.__path__)
    for name in sorted(names):
        module = f"{name}_pb2.py"
        assert _descriptor(installed / module) == _descriptor(fresh / module), f"{module}: run `make setup`"


def test_a_proto_that_does_not_compile_ends_the_build(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = _load_script("compile_protos", PROTOCOL)
    (tmp_path / "bad.proto").write_text('syntax = "proto3"; message Bad { Missing field = 1; }')
    monkeypatch.setattr(script, "PROTOS", tmp_path)
    with pytest.raises(SystemExit, match="protoc failed"):
        script.compile_protos(tmp_path / "out")


@pytest.mark.parametrize(
    ("tools", "programs", "command"),
    [
        ("1.62.3", [], [sys.executable, "-m", "grpc_tools.protoc"]),
        ("1.48.2", ["protoc", "grpc_python_plugin"], [sys.executable, "-m", "grpc_tools.protoc"]),
        # Ubuntu's python3-grpc-tools: its modules load only beside Ubuntu's own protobuf.
        (
            "1.14.1",
            ["protoc", "grpc_python_plugin"],
            ["/bin/protoc", "--plugin=protoc-gen-grpc_python=/bin/grpc_python_plugin"],
        ),
        (
            None,
            ["protoc", "grpc_python_plugin"],
            ["/bin/protoc", "--plugin=protoc-gen-grpc_python=/bin/grpc_python_plugin"],
        ),
        ("1.14.1", [], "got grpcio-tools 1.14.1, protoc none, grpc_python_plugin none"),
        (None, ["protoc"], "got grpcio-tools none, protoc /bin/protoc, grpc_python_plugin none"),
    ],
)
def test_which_compiler_of_protos_is_taken(
    monkeypatch: pytest.MonkeyPatch, tools: str | None, programs: list[str], command: list[str] | str
) -> None:
    script = _load_script("compile_protos", PROTOCOL)
    monkeypatch.setattr(script.metadata, "version", _not_installed if tools is None else lambda name: tools)
    monkeypatch.setattr(script.shutil, "which", lambda name: f"/bin/{name}" if name in programs else None)
    if isinstance(command, str):
        with pytest.raises(SystemExit, match=command):
            script.find_compiler()
    else:
        assert script.find_compiler() == command


# --- The package itself ------------------------------------------------------------------------------


@pytest.mark.long
def test_a_wheel_holds_modules_messages_libraries_and_share(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    ignore = shutil.ignore_patterns(
        ".git", ".venv*", ".cache", "build", "install", "log", "out", "__pycache__"
    )
    shutil.copytree(ROOT, tree, ignore=ignore)
    generated = "alpamayo_ros/sim/protocol/generated"
    (tree / "src" / generated).mkdir(exist_ok=True)
    (tree / "src" / generated / "__init__.py").touch()
    (tree / "src" / generated / "removed_pb2.py").write_text("left by an editable install of long ago")
    (tree / "checkpoints" / "pisco" / "backbone").mkdir(parents=True, exist_ok=True)
    for file in ("config.json", "model.safetensors", "backbone/tokenizer.json"):
        (tree / "checkpoints" / "pisco" / file).touch()
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-build-isolation", "--no-deps"]
    subprocess.run([*command, "--wheel-dir", tmp_path, tree], check=True)
    (wheel,) = tmp_path.glob("alpamayo_ros-*.whl")
    assert f"cp{sys.version_info[0]}{sys.version_info[1]}" in wheel.name
    unpacked = tmp_path / "unpacked"
    shutil.unpack_archive(wheel, unpacked, "zip")
    names = {path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*") if path.is_file()}
    data = f"alpamayo_ros-{__version__}.data/data"
    for name in (
        "alpamayo_ros/__init__.py",
        "alpamayo_ros/py.typed",
        "alpamayo_ros/cli/main.py",
        "alpamayo_ros/msg/_plan.py",
        "alpamayo_ros/srv/_ask.py",
        "alpamayo_ros/sim/protocol/protos/sensorsim.proto",
        f"{generated}/__init__.py",
        f"{generated}/sensorsim_pb2.py",
        f"{generated}/sensorsim_pb2_grpc.py",
        f"{data}/lib/libalpamayo_ros__rosidl_typesupport_fastrtps_c.so",
        f"{data}/lib/alpamayo_ros/planner",
        f"{data}/share/alpamayo_ros/package.xml",
        f"{data}/share/alpamayo_ros/msg/Plan.msg",
        f"{data}/share/alpamayo_ros/config/fastdds_shm.xml",
        f"{data}/share/alpamayo_ros/checkpoints/pisco/model.safetensors",
        f"{data}/share/alpamayo_ros/checkpoints/pisco/backbone/tokenizer.json",
        f"{data}/share/ament_index/resource_index/packages/alpamayo_ros",
    ):
        assert name in names, name
    assert f"{generated}/removed_pb2.py" not in names
    assert not [name for name in names if "__pycache__" in name]
