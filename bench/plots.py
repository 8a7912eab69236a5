"""Plots of the figures, for docs/performance.md."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

mpl.use("svg")
# Makes the files reproducible.
mpl.rcParams["svg.hashsalt"] = "holdfast"
mpl.rcParams["font.size"] = 10

from matplotlib import pyplot as plt  # noqa: E402 - after its settings
from matplotlib.axes import Axes  # noqa: E402
from matplotlib.figure import Figure  # noqa: E402

Json = dict[str, Any]

COLOURS = ["#1f5fa8", "#d9822b", "#5aa469", "#8f5aa5", "#c14953", "#7a7a7a"]
BACKGROUND = "white"
"""Not transparent: the page that shows them may be dark."""
PURCHASES = (1, 8, 32)


def draw(directory: Path, rows: Sequence[Json], curves: Sequence[Json]) -> None:
    """Draw every plot that has results."""
    directory.mkdir(parents=True, exist_ok=True)
    values = {row["name"]: row for row in rows}
    if f"purchase, {PURCHASES[0]} at once: orders/s" in values:
        _orders_per_second(directory / "purchases.svg", values)
        _cpu(directory / "cpu.svg", values)
    for name in ("recovery", "expiry", "memory"):
        wanted = [curve for curve in curves if curve["name"].startswith(name)]
        if wanted:
            _lines(directory / f"{name}.svg", wanted)


def _orders_per_second(path: Path, values: dict[str, Json]) -> None:
    figure, axes = plt.subplots(figsize=(6, 3.2))
    rows = [values[f"purchase, {n} at once: orders/s"] for n in PURCHASES]
    for offset, (kind, label) in enumerate((("reference", "bare purchase"), ("value", "purchase"))):
        spreads = [row["spread"][kind] for row in rows]
        medians = [one["median"] for one in spreads]
        errors = [
            [one["median"] - one["least"] for one in spreads],
            [one["most"] - one["median"] for one in spreads],
        ]
        places = [place + offset * 0.38 - 0.19 for place in range(len(rows))]
        axes.bar(places, medians, 0.36, yerr=errors, capsize=3, color=COLOURS[offset], label=label)
    axes.set_xticks(range(len(rows)), [str(n) for n in PURCHASES])
    axes.set_xlabel("buyers at once")
    axes.set_ylabel("orders per second")
    _save(path, figure, axes)


def _cpu(path: Path, values: dict[str, Json]) -> None:
    prefix = f"purchase, {PURCHASES[-1]} at once: CPU per order, "
    parts = [(name.removeprefix(prefix), row) for name, row in values.items() if prefix in name]
    figure, axes = plt.subplots(figsize=(6, 3.2))
    parts.sort(key=lambda part: part[1]["value"])
    axes.barh([name for name, _ in parts], [row["value"] for _, row in parts], color=COLOURS[0])
    axes.set_xlabel(f"milliseconds of CPU per order, {PURCHASES[-1]} buyers at once")
    _save(path, figure, axes, legend=False)


def _lines(path: Path, curves: Sequence[Json]) -> None:
    figure, axes = plt.subplots(figsize=(6, 3.2))
    for colour, curve in zip(COLOURS, curves, strict=False):
        xs, ys = zip(*curve["points"], strict=True)
        axes.plot(xs, ys, color=colour, label=curve["name"])
    axes.set_xlabel(curves[0]["x"])
    axes.set_ylabel(curves[0]["y"])
    axes.set_ylim(bottom=0)
    _save(path, figure, axes)


def _save(path: Path, figure: Figure, axes: Axes, *, legend: bool = True) -> None:
    axes.spines[["top", "right"]].set_visible(False)
    if legend:
        axes.legend(frameon=False)
    figure.tight_layout()
    figure.savefig(path, facecolor=BACKGROUND, metadata={"Date": None})
    plt.close(figure)
