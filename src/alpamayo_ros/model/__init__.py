"""The Alpamayo models: checkpoint in, plans out.

`Alpamayo` is imported when it is asked for, so that the parts without transformers (the action space, the
config) can be used where it is not installed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from alpamayo_ros.types import PlanOptions

if TYPE_CHECKING:
    from alpamayo_ros.model.alpamayo import Alpamayo
    from alpamayo_ros.model.answer import Answer

__all__ = ["Alpamayo", "Answer", "PlanOptions"]


def __getattr__(name: str) -> Any:
    if name == "Alpamayo":
        from alpamayo_ros.model.alpamayo import Alpamayo

        return Alpamayo
    if name == "Answer":
        from alpamayo_ros.model.answer import Answer

        return Answer
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
