"""Pieces of the report's page. Every text that comes from outside goes through `esc`."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Sequence

from alpamayo_ros.sim.report.page_template import PAGE

UNKNOWN = "unknown"


def data_uri(data: bytes, kind: str) -> str:
    """Return a picture as an address that holds it, so that no other file is needed; kind as in "webp"."""
    return f"data:image/{kind};base64,{base64.b64encode(data).decode('ascii')}"


def esc(text: object) -> str:
    """Return a text with everything escaped that HTML would read as its own, quotes too."""
    return html.escape(str(text), quote=True)


def page(title: str, subtitle: str, sections: Iterable[str]) -> str:
    """Return the whole page; `title` and `subtitle` are texts, sections are HTML."""
    return PAGE.substitute(title=esc(title), subtitle=esc(subtitle), body="\n".join(sections))


def number(value: object, form: str = ".3g", unit: str = "") -> str:
    """Return a number as text; None and what is no number are "unknown", never zero."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, (int, float)) or value != value:
        return UNKNOWN
    return f"{value:{form}}{unit}"


def card(label: str, value: str, note: str = "") -> str:
    """Return one figure of the summary; texts."""
    return (
        f'<div class="card"><span>{esc(label)}</span><b>{esc(value)}</b>'
        f"<small class='faint'>{esc(note) or '&nbsp;'}</small></div>"
    )


def cell(value: object, form: str = ".3g", *, left: bool = False) -> str:
    """Return a cell that is sorted by its value; a text, a number, or None for unknown."""
    shown = value if isinstance(value, str) else number(value, form)
    is_number = isinstance(value, (int, float)) and value == value
    key = f"{float(value)!r}" if is_number and isinstance(value, (int, float)) else shown
    css = ' class="left"' if left else ""
    return f'<td{css} data-key="{esc(key)}">{esc(shown)}</td>'


def table(
    heads: Sequence[str], rows: Iterable[str], *, left: Sequence[str] = (), sortable: bool = False
) -> str:
    """Return a table of rows whose cells are HTML; heads are texts, those in `left` aligned to the left."""
    head = "".join(
        f'<th class="left">{esc(text)}</th>' if text in left else f"<th>{esc(text)}</th>" for text in heads
    )
    body = "\n".join(f"<tr>{row}</tr>" for row in rows)
    css = ' class="sortable"' if sortable else ""
    return (
        f'<div class="wide"><table{css}><thead><tr>{head}</tr></thead><tbody>\n{body}\n</tbody></table></div>'
    )


def badge(text: str, kind: str = "") -> str:
    """Return a small coloured label: kind "good", "middling", "bad" or none."""
    return f'<span class="badge {esc(kind)}">{esc(text)}</span>'


def bar(share: float | None, low: float | None = None, high: float | None = None) -> str:
    """Return a bar of 0 … 1 with its interval; an empty text where it is unknown."""
    if share is None:
        return ""

    def percent(value: float) -> str:
        return f"{100 * min(max(value, 0.0), 1.0):.1f}%"

    interval = ""
    if low is not None and high is not None:
        interval = f'<u style="left: {percent(low)}; width: {percent(high - low)}"></u>'
    return f'<span class="bar"><i style="width: {percent(share)}"></i>{interval}</span>'
