"""Message types for bags: their definitions, type hashes and (de)serialisation without a ROS installation.

A recorded message is read by the definition stored beside it. Types that a bag does not define come
from the rosbags library (all of common_interfaces) and, for our own messages and anybody else's, from
the .msg files that packages install under share/, or from this source tree.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from alpamayo_ros.bags.errors import BagError

if TYPE_CHECKING:
    from rosbags.interfaces import MessageDefinition
    from rosbags.typesys.store import Typestore

OWN_PACKAGE = "alpamayo_ros"
_SOURCE_ROOT = Path(__file__).resolve().parents[3]


class Definition(NamedTuple):
    """A message type as a bag stores it: its text with all that it is made of, and its REP-2016 hash."""

    text: str
    rihs01: str


def message_prefixes() -> Iterator[Path]:
    """Yield the prefixes under which packages install their messages, the first to win first."""
    for prefix in os.environ.get("AMENT_PREFIX_PATH", "").split(os.pathsep):
        if prefix:
            yield Path(prefix)
    yield Path(sys.prefix)


def find_message_file(type_name: str) -> Path | None:
    """Return the .msg file of a type such as "alpamayo_ros/msg/Plan", or None where nobody has it."""
    package, _, name = _split(type_name)
    candidates = [prefix / "share" / package / "msg" / f"{name}.msg" for prefix in message_prefixes()]
    if package == OWN_PACKAGE:
        candidates.append(_SOURCE_ROOT / "msg" / f"{name}.msg")
    return next((path for path in candidates if path.is_file()), None)


def installed_hash(type_name: str) -> str | None:
    """Return the REP-2016 hash of an installed type, or None where it isn't known (Humble has none)."""
    package, _, name = _split(type_name)
    for prefix in message_prefixes():
        path = prefix / "share" / package / "msg" / f"{name}.json"
        if path.is_file():
            try:
                hashes = json.loads(path.read_text(encoding="utf-8"))["type_hashes"]
                return next(str(h["hash_string"]) for h in hashes if h["type_name"] == type_name)
            except (ValueError, KeyError, TypeError, StopIteration):
                return None
    return None


def base_typestore() -> Typestore:
    """Return a fresh type store with common_interfaces and our own messages."""
    from rosbags.typesys import Stores, get_typestore

    store = get_typestore(Stores.ROS2_KILTED)
    for name in ("Plan", "PlanCandidate", "PlanWaypoint", "Route", "StageTimes"):
        ensure_type(store, f"{OWN_PACKAGE}/msg/{name}")
    return store


def ensure_type(store: Typestore, type_name: str) -> None:
    """Register a type, and what it is made of, from installed .msg files unless the store has it.

    Raises:
        BagError: where no package installs the type, or its file cannot be parsed.
    """
    from rosbags.interfaces import Nodetype
    from rosbags.typesys import TypesysError, get_types_from_msg

    if type_name in store.fielddefs:
        return
    path = find_message_file(type_name)
    if path is None:
        raise BagError(
            f"message type {type_name}: expected its .msg file under share/ of an installed package, "
            "got none; install the package, or source its workspace"
        )
    try:
        types = get_types_from_msg(path.read_text(encoding="utf-8"), type_name)
        for _, fields in types.values():
            for _, description in fields:
                kind, detail = cast("tuple[int, Any]", description)
                if kind in (Nodetype.ARRAY, Nodetype.SEQUENCE):
                    kind, detail = detail[0]
                if kind == Nodetype.NAME:
                    ensure_type(store, str(detail))
        store.register(types)
    except (TypesysError, OSError) as error:
        raise BagError(f"message type {type_name}: expected a definition in {path}, got {error}") from error


def definition_of(store: Typestore, type_name: str) -> Definition:
    """Return the definition that a writer stores for a type; raises BagError for an unknown type."""
    ensure_type(store, type_name)
    text, _ = store.generate_msgdef(type_name, ros_version=2)
    return Definition(text, store.hash_rihs01(type_name))


def store_from_definitions(definitions: dict[str, MessageDefinition]) -> Typestore:
    """Return a store in which a bag's own definitions come before everything known here.

    Args:
        definitions: type name -> definition as recorded (format NONE where the bag has none).
    """
    from rosbags.interfaces import MessageDefinitionFormat
    from rosbags.typesys import Stores, TypesysError, get_types_from_idl, get_types_from_msg, get_typestore

    store = get_typestore(Stores.EMPTY)
    for type_name, definition in definitions.items():
        try:
            if definition.format == MessageDefinitionFormat.MSG:
                store.register(get_types_from_msg(definition.data, type_name))
            elif definition.format == MessageDefinitionFormat.IDL:
                store.register(get_types_from_idl(definition.data))
        except TypesysError as error:
            raise BagError(f"type {type_name}: expected a readable definition, got {error}") from error
    base = base_typestore()
    store.register({name: spec for name, spec in base.fielddefs.items() if name not in store.fielddefs})
    return store


def _split(type_name: str) -> tuple[str, str, str]:
    parts = type_name.split("/")
    if len(parts) != 3 or not all(parts):
        raise BagError(f"message type: expected PACKAGE/msg/NAME, got {type_name!r}")
    return parts[0], parts[1], parts[2]
