"""What a process does with Python's own machinery so that it answers in time."""

from __future__ import annotations

import gc


def settle_collector() -> None:
    """Let the garbage collector leave alone what is there now; `gc.unfreeze` is the way back.

    With torch and transformers imported some 400 000 objects live as long as the process. To walk through
    them stops every thread of it, the one that publishes the stop too, for 0.4 s on a slow core: at any
    moment, and whenever memory ran out and is to be freed.
    """
    gc.collect()
    gc.freeze()
