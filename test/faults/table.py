"""The table of faults, as the run itself writes it to docs/RELIABILITY.md."""

from __future__ import annotations

import os
import platform
import re
from collections.abc import Sequence
from datetime import datetime, timezone
from pathlib import Path

from bench import Verdict

VARIABLE = "ALPAMAYO_RELIABILITY"
"""Environment variable: the page to write; nothing is written without it."""
_BEGIN, _END = "<!-- {name}: written by the run -->", "<!-- end of {name} -->"


def row(verdict: Verdict) -> str:
    fault = verdict.fault
    name = fault.name.replace("|", "\\|")
    expected = {True: "stop", False: "drive on", None: "either"}[fault.stops]

    def seconds(value: float | None) -> str:
        return "–" if value is None else f"{value:.2f}"

    said = re.sub(r"\s+", " ", verdict.said).replace("|", "\\|")
    if verdict.excused:
        said = f"(times not judged: the machine stalled in {verdict.tries} tries) {said}"
    elif verdict.tries > 1:
        said = f"(try {verdict.tries}, as the machine stalled) {said}"
    said = said if len(said) <= 90 else said[:88] + " …"
    return (
        f"| {name} | {fault.lasts_s:g} | {expected} | {verdict.valid_plans} | {verdict.stops} "
        f"| {len(verdict.problems)} | {verdict.oldest_s:.2f} | {seconds(verdict.first_stop_s)} "
        f"| {seconds(verdict.recovered_s)} | `{fault.status}`: {said} |"
    )


def table(verdicts: Sequence[Verdict]) -> str:
    """Return the rows, and a line that sums them up."""
    violations = sum(len(verdict.problems) for verdict in verdicts)
    oldest_s = max((v.oldest_s for v in verdicts), default=0.0)
    recovered = [v.recovered_s for v in verdicts if v.recovered_s is not None]
    lines = [
        f"{len(verdicts)} faults, {sum(v.valid_plans for v in verdicts)} VALID plans and "
        f"{sum(v.stops for v in verdicts)} stops while they lasted and until each was over, "
        f"**{violations} violations**; oldest VALID plan {oldest_s:.2f} s when it was published, "
        f"slowest recovery {max(recovered, default=0):.2f} s.",
        "",
        "| fault | lasts s | expected | VALID plans | stops | violations | oldest VALID plan s "
        "| first stop s | VALID again s | /diagnostics |",
        "|---|---|---|---|---|---|---|---|---|---|",
        *(row(verdict) for verdict in verdicts),
    ]
    return "\n".join(lines)


def write_section(name: str, text: str) -> None:
    """Put a section into the page that the environment names, in the place of the one of before."""
    target = os.environ.get(VARIABLE)
    if not target:
        return
    page = Path(target)
    when = datetime.now(timezone.utc).date().isoformat()
    begin, end = _BEGIN.format(name=name), _END.format(name=name)
    machine = f"{os.cpu_count()} cores, {platform.machine()}, CPU, no GPU"
    section = f"{begin}\nMeasured {when}, {machine}.\n\n{text}\n{end}"
    old = page.read_text() if page.exists() else ""
    if begin in old:
        head, _, rest = old.partition(begin)
        _, _, tail = rest.partition(end)
        page.write_text(head + section + tail)
    else:
        page.write_text(old.rstrip("\n") + f"\n\n## {name}\n\n{section}\n")
