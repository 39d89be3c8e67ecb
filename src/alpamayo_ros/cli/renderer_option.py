"""What --renderer takes, wherever a command has it."""

from __future__ import annotations


def renderer_address(address: str) -> str:
    """Return HOST:PORT as it was given, "" for none: then a renderer of our own is started.

    Raises:
        InvalidInput: for what is no address.
    """
    if not address:
        return ""
    from alpamayo_ros.sim.protocol.channel import require_address

    return require_address("--renderer", address)
