"""The results of a benchmark: rows, each with a value and its reference, and curves."""

import operator
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from math import nan
from typing import Any, Literal

COMPARISONS = {"<=": operator.le, ">=": operator.ge, "==": operator.eq}


@dataclass(frozen=True)
class Spread:
    """The median and the range of repeated measurements."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class Target:
    """The bound for the ratio to the reference or, without a reference, for the value."""

    sign: Literal["<=", ">=", "=="]
    bound: float

    def __str__(self) -> str:
        signs = {"<=": "≤ ", ">=": "≥ ", "==": ""}
        return f"{signs[self.sign]}{self.bound:g}"

    def is_reached_by(self, number: float) -> bool:
        return bool(COMPARISONS[self.sign](number, self.bound))


@dataclass(frozen=True)
class Row:
    """One result: its value over the repeats, its reference and its target."""

    name: str
    value: Spread
    unit: str
    reference: Spread | None = None
    ratio: Spread | None = None
    """The ratios of pairs measured one after the other, not the ratio of the medians."""
    target: Target | None = None

    @property
    def is_ok(self) -> bool | None:
        """Whether the target is reached; None where there is none."""
        if self.target is None:
            return None
        return self.target.is_reached_by((self.ratio or self.value).median)

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "value": self.value.median,
            "unit": self.unit,
            "reference": self.reference and self.reference.median,
            "ratio": self.ratio and self.ratio.median,
            "target": self.target and str(self.target),
            "ok": self.is_ok,
            "spread": {
                kind: asdict(spread)
                for kind in ("value", "reference", "ratio")
                if (spread := getattr(self, kind)) is not None
            },
        }


@dataclass(frozen=True)
class Curve:
    """A series of points, for a plot."""

    name: str
    x: str
    """The label of the axis, with its unit."""
    y: str
    points: Sequence[tuple[float, float]]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def absolute_row(
    name: str, values: Sequence[float] | float, unit: str, target: Target | None = None
) -> Row:
    """A row without a reference."""
    repeats = values if isinstance(values, Sequence) else [values]
    return Row(name, Spread.of(repeats), unit, target=target)


def relative_row(
    name: str,
    values: Sequence[float],
    references: Sequence[float],
    unit: str,
    target: Target | None = None,
) -> Row:
    """A row of values, each with a reference that was measured in the same run.

    The ratio to a reference of 0 is not a number, which reaches no target.
    """
    ratios = [
        value / reference if reference else nan
        for value, reference in zip(values, references, strict=True)
    ]
    return Row(name, Spread.of(values), unit, Spread.of(references), Spread.of(ratios), target)


def percentile(values: Sequence[float], percent: int) -> float:
    """The percentile, interpolated between values."""
    if len(values) == 1:
        return values[0]
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
