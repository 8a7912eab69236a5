"""What a benchmark tells: rows, each a figure beside the one it is measured against."""

import operator
import statistics
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

HOLDS = {"<=": operator.le, ">=": operator.ge, "==": operator.eq}


@dataclass(frozen=True)
class Spread:
    """Repeated measurements of one thing."""

    median: float
    least: float
    most: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        return cls(statistics.median(values), min(values), max(values))


@dataclass(frozen=True)
class Target:
    """What the ratio to the reference has to be or, where there is none, the value itself."""

    sign: Literal["<=", ">=", "=="]
    bound: float

    def __str__(self) -> str:
        signs = {"<=": "≤ ", ">=": "≥ ", "==": ""}
        return f"{signs[self.sign]}{self.bound:g}"

    def is_reached_by(self, number: float) -> bool:
        return bool(HOLDS[self.sign](number, self.bound))


@dataclass(frozen=True)
class Row:
    """One figure, with its repeats, and what it should be."""

    name: str
    value: Spread
    unit: str
    reference: Spread | None = None
    ratio: Spread | None = None
    """Of the pairs that were measured side by side; not of the two medians."""
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
    """How something went on; for a plot."""

    name: str
    x: str
    """What is along the axis, with its unit."""
    y: str
    points: Sequence[tuple[float, float]]

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def plain(
    name: str, values: Sequence[float] | float, unit: str, target: Target | None = None
) -> Row:
    """A figure that is measured against nothing but its target."""
    repeats = values if isinstance(values, Sequence) else [values]
    return Row(name, Spread.of(repeats), unit, target=target)


def compared(
    name: str,
    values: Sequence[float],
    references: Sequence[float],
    unit: str,
    target: Target | None = None,
) -> Row:
    """Figures and what each of them was measured beside, in the same run."""
    ratios = [value / reference for value, reference in zip(values, references, strict=True)]
    return Row(name, Spread.of(values), unit, Spread.of(references), Spread.of(ratios), target)


def percentile(values: Sequence[float], percent: int) -> float:
    """The value below which so many percent are."""
    if len(values) == 1:
        return values[0]
    return statistics.quantiles(values, n=100, method="inclusive")[percent - 1]
