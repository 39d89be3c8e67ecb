"""XML elements with numbers in them."""

from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement


def add(parent: Element, tag: str, **attributes: object) -> Element:
    """Add a child to an element and return it; floats are written so that they read back the same."""
    text = {
        key: repr(float(value)) if isinstance(value, float) else str(value)
        for key, value in attributes.items()
    }
    return SubElement(parent, tag, text)
