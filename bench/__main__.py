"""`make bench` runs all benchmarks, `make bench ONLY=rush` runs one."""

import argparse
import time
from collections.abc import Callable, Iterator

from bench import (
    expiry,
    listings,
    memory,
    open_reservations,
    overload,
    pages,
    processes,
    purchases,
    recovery,
    rush,
    waiting,
)
from bench.figures import Curve, Row
from bench.results import describe_machine, store_results, table

Benchmark = Callable[[], Iterator[Row | Curve]]

BENCHMARKS: dict[str, Benchmark] = {
    "purchase": purchases.rows,
    "rush": rush.rows,
    "overload": overload.rows,
    "recovery": recovery.rows,
    "waiting": waiting.rows,
    "expiry": expiry.rows,
    "open": open_reservations.rows,
    "listings": listings.rows,
    "pages": pages.rows,
    "memory": memory.rows,
    "processes": processes.rows,
}

SHORT_CURVE = 30
"""A curve of so many points is printed as well."""


def main() -> int:
    """Run the benchmarks, print and store their results; 1 if a target is not reached."""
    arguments = _parse()
    print(describe_machine(), flush=True)
    found: dict[str, list[Row | Curve]] = {}
    for name in arguments.only:
        began = time.perf_counter()
        found[name] = list(BENCHMARKS[name]())
        print(f"\n{name}, in {time.perf_counter() - began:.0f} s\n")
        print(table([row.as_json() for row in found[name] if isinstance(row, Row)]), flush=True)
        for curve in found[name]:
            if isinstance(curve, Curve) and len(curve.points) <= SHORT_CURVE:
                print(_one_line(curve), flush=True)
        if not arguments.discard:
            store_results({name: found[name]}, list(BENCHMARKS))
    rows = [one for figures in found.values() for one in figures if isinstance(one, Row)]
    missed = [row.name for row in rows if row.is_ok is False]
    for name in missed:
        print(f"not reached: {name}")
    return int(bool(missed))


def _one_line(curve: Curve) -> str:
    points = ", ".join(f"{x:g}: {y:.3g}" for x, y in curve.points)
    return f"\n{curve.name}, {curve.y} by {curve.x}: {points}"


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument(
        "only", nargs="*", choices=[*BENCHMARKS, []], help="the benchmarks to run (default: all)"
    )
    parser.add_argument(
        "--discard", action="store_true", help="print the results without storing them"
    )
    arguments = parser.parse_args()
    arguments.only = arguments.only or list(BENCHMARKS)
    return arguments


if __name__ == "__main__":
    raise SystemExit(main())
