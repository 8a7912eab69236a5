"""`make compare REV=HEAD~1` measures the purchases of two revisions in turns.

Each revision has a clean checkout and a stack of its own, and both stacks run all the time, but
only one of them is under load at a time.
The buyers are this tree's: they need nothing of a revision but its HTTP API.
"""

import argparse
import asyncio
import signal
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.figures import Row, Target, absolute_row, relative_row
from bench.purchases import PURCHASES, buy_tickets
from bench.results import describe_machine, table
from bench.revisions import (
    Checkout,
    RevisionStack,
    check_out,
    has_uncommitted_changes,
    running_stack,
)
from bench.timing import Timings
from devstack.process import StackError
from ticketing.event_loops import run

ROUNDS = 5
WARM_UP = 64
SETTLE_SECONDS = 1.0
"""How long webhooks may arrive after the purchases; they are counted as well."""

CPU = Target("<=", 0.7)
ORDERS_PER_SECOND = Target(">=", 1.35)
PAY_LATENCY = Target("<=", 0.65)
"""What the lean purchase (docs/performance.md) has to reach beside the revision before it."""


@dataclass(frozen=True)
class Measurement:
    """The purchases of one revision in one round."""

    timings: Timings
    cpu: dict[str, float]
    """Milliseconds per order, by server."""


Pair = tuple[Measurement, Measurement]
"""The measurements of the earlier and the later revision, made one after the other."""


def main() -> int:
    """Measure both revisions and print the table."""
    arguments = _parse()
    # The stacks are stopped on the way out, which a plain SIGTERM would not do.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    print(describe_machine(), flush=True)
    if arguments.rev2 == "HEAD" and has_uncommitted_changes():
        print("HEAD is measured without the uncommitted changes of the working tree")
    try:
        with tempfile.TemporaryDirectory(prefix="holdfast-compare-") as directory:
            before = check_out(arguments.rev, Path(directory, "before", "code"))
            after = check_out(arguments.rev2, Path(directory, "after", "code"))
            rows = _compare(before, after, arguments.rounds, arguments.purchases)
    except StackError as error:
        print(error, file=sys.stderr)
        return 1
    print()
    print(table([row.as_json() for row in rows], value=after.label, reference=before.label))
    return 0


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make compare", description=__doc__)
    parser.add_argument("rev", metavar="REV", help="the revision to compare with")
    parser.add_argument("rev2", metavar="REV2", nargs="?", default="HEAD", help="(default: HEAD)")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"(default: {ROUNDS})")
    default = "/".join(map(str, PURCHASES.values()))
    levels = "/".join(map(str, PURCHASES))
    parser.add_argument(
        "--purchases",
        type=int,
        help=f"of each revision and round (default: {default} for {levels} buyers)",
    )
    return parser.parse_args()


def _compare(before: Checkout, after: Checkout, rounds: int, purchases: int | None) -> list[Row]:
    with (
        running_stack(before, before.directory.parent) as old,
        running_stack(after, after.directory.parent) as new,
    ):
        for stack in (old, new):
            stack.sign_up(max(PURCHASES))
            run(_measure(stack, WARM_UP, 8))
        rows: list[Row] = []
        for at_once, count in PURCHASES.items():
            pairs = [run(_pair(old, new, purchases or count, at_once)) for _ in range(rounds)]
            rows += rows_of(at_once, pairs)
        return rows


async def _pair(old: RevisionStack, new: RevisionStack, count: int, at_once: int) -> Pair:
    pair = await _measure(old, count, at_once), await _measure(new, count, at_once)
    rates = " and ".join(f"{one.timings.per_second:.1f}" for one in pair)
    print(f"{_buyers(at_once)}: {rates} orders/s", flush=True)
    return pair


async def _measure(stack: RevisionStack, count: int, at_once: int) -> Measurement:
    tickets = stack.list_tickets(count)
    with stack.cpu_times() as cpu:
        timings = await buy_tickets(stack, tickets, at_once)
        await asyncio.sleep(SETTLE_SECONDS)
    return Measurement(timings, cpu.per(count))


def rows_of(at_once: int, pairs: Sequence[Pair]) -> Iterator[Row]:
    """What the purchases of so many buyers took."""
    old, new = zip(*pairs, strict=True)
    name = _buyers(at_once)
    yield relative_row(
        f"{name}: orders/s",
        [one.timings.per_second for one in new],
        [one.timings.per_second for one in old],
        "1/s",
        ORDERS_PER_SECOND if at_once == max(PURCHASES) else None,
    )
    for step, percent in (("reserve", 50), ("pay", 50), ("reserve", 95), ("pay", 95)):
        yield relative_row(
            f"{name}: {step} p{percent}",
            [one.timings.milliseconds(step, percent) for one in new],
            [one.timings.milliseconds(step, percent) for one in old],
            "ms",
            PAY_LATENCY if (at_once, step, percent) == (1, "pay", 50) else None,
        )
    turned_away = [len(one.timings.turned_away.waits) for one in new]
    yield absolute_row(f"{name}: requests turned away", turned_away, "")
    yield relative_row(
        f"{name}: CPU per order",
        [sum(one.cpu.values()) for one in new],
        [sum(one.cpu.values()) for one in old],
        "ms",
        CPU,
    )
    for server in old[0].cpu:
        yield relative_row(
            f"{name}: CPU per order, {server}",
            [one.cpu[server] for one in new],
            [one.cpu[server] for one in old],
            "ms",
        )


def _buyers(count: int) -> str:
    return "1 buyer" if count == 1 else f"{count} buyers"


if __name__ == "__main__":
    raise SystemExit(main())
