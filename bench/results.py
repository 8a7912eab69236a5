"""Stores the results: as JSON, as a table in the documentation, and as plots."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from bench.figures import Curve, Row
from bench.plots import draw
from devstack.process import REPOSITORY

LATEST = REPOSITORY / "bench" / "results" / "latest.json"
CURVES = REPOSITORY / "bench" / "results" / "curves.json"
DOCUMENT = REPOSITORY / "docs" / "performance.md"
PLOTS = REPOSITORY / "docs" / "performance"
BEGIN, END = "<!-- figures: written by make bench -->", "<!-- end of figures -->"

HEADLINES = (
    "purchase, 1 at once: reserve p50",
    "purchase, 1 at once: pay p50",
    "purchase, 1 at once: CPU per order",
    "purchase, 32 at once: orders/s",
    "purchase, 32 at once: CPU per order",
    "rush, 500 buyers, 1 ticket: workflows started per ticket sold",
    "rush, 500 buyers, 50 tickets: loser told, p95",
    "overload, 400 buyers: orders/s told as completed",
    "overload, 1,000 buyers: orders/s told as completed",
    "overload, 1,000 buyers: payments left undecided",
    "overload, 1,000 buyers: turned away, told p95",
    "recovery, 400 buyers: back at 0.9 of it after the return",
    "1,000 callers wait for slow banks: listing p50",
    "expiry storm, 2,000 reservations: all free after the deadline",
    "purchase with 20,000 open orders: reserve p50",
    "listing, searched, 1,000,000 tickets: p50",
    "page, 100,000 tickets, an order to pay: p95",
    "memory of worker after 10,000 purchases",
    "two APIs, two workers, three MongoDB members: violated invariants",
)
"""The rows that the documentation always shows; the rest stands in the JSON."""

MARKS = {True: "reached", False: "**not reached**", None: ""}

Json = dict[str, Any]


def store_results(found: Mapping[str, Sequence[Row | Curve]], order: Sequence[str]) -> None:
    """Replace the earlier results of these benchmarks; `order` sorts the benchmarks."""
    now = datetime.now(UTC).isoformat(timespec="seconds")
    rows = [one for one in _read(LATEST) if one["benchmark"] not in found]
    curves = [one for one in _read(CURVES) if one["benchmark"] not in found]
    for benchmark, figures in found.items():
        about = {"benchmark": benchmark, "measuredAt": now}
        rows += [one.as_json() | about for one in figures if isinstance(one, Row)]
        curves += [one.as_json() | about for one in figures if isinstance(one, Curve)]
    rows.sort(key=lambda one: order.index(one["benchmark"]))
    _write(LATEST, rows)
    _write(CURVES, curves)
    _write_table(rows)
    draw(PLOTS, rows, curves)


def table(rows: Sequence[Json], value: str = "value", reference: str = "measured beside") -> str:
    """The rows as a Markdown table, with these headings."""
    lines = [
        f"| what | {value} | {reference} | ratio | to reach | |",
        "| --- | ---: | ---: | ---: | ---: | --- |",
    ]
    for row in rows:
        spread = row["spread"]
        cells = [
            row["name"],
            _cell(spread["value"], row["unit"]),
            _cell(spread.get("reference"), row["unit"]),
            _cell(spread.get("ratio"), "", digits=2),
            row["target"] or "",
            MARKS[row["ok"]],
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def headlines(rows: Sequence[Json]) -> list[Json]:
    """The rows that the documentation shows, and every row whose target is missed."""
    return [row for row in rows if row["name"] in HEADLINES or row["ok"] is False]


def describe_machine() -> str:
    """Cores, system, memory, Python version and load, in one line."""
    return (
        f"{os.cpu_count()} cores ({platform.machine()}), {platform.system()} {platform.release()}, "
        f"{psutil.virtual_memory().total >> 30} GiB, Python {platform.python_version()}; "
        f"load average before: {os.getloadavg()[0]:.1f}"
    )


def _write_table(rows: Sequence[Json]) -> None:
    text = DOCUMENT.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    DOCUMENT.write_text(f"{before}{BEGIN}\n\n{table(headlines(rows))}\n\n{END}{after}")


def _cell(spread: Mapping[str, float] | None, unit: str, digits: int | None = None) -> str:
    if spread is None:
        return ""
    median, least, most = (_number(spread[k], digits) for k in ("median", "least", "most"))
    value = f"{median} {unit}".strip()
    return value if least == most else f"{value} ({least}–{most})"


def _number(value: float, digits: int | None) -> str:
    if digits is None:
        digits = 0 if value >= 100 or value == int(value) else 1 if value >= 10 else 2
    return f"{value:,.{digits}f}"


def _read(path: Path) -> list[Json]:
    if not path.exists():
        return []
    stored: list[Json] = json.loads(path.read_text())
    return stored


def _write(path: Path, stored: Sequence[Json]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(stored, indent=1) + "\n")
