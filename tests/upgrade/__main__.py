"""`make upgrade REV=…`: orders that a revision leaves open, carried on by the working tree."""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from bench.revisions import Checkout, check_out
from devstack.process import StackError
from tests.upgrade.market import Unexpected
from tests.upgrade.run import Report, upgrade
from tests.upgrade.stacks import working_tree


def main() -> int:
    """Upgrade twice, once from a stopped stack and once from a killed one; 1 if all is not well."""
    revision = _parse()
    directory = Path(tempfile.mkdtemp(prefix="holdfast-upgrade-"))
    try:
        old = check_out(revision, directory / "old")
        stopped, killed = (_run(old, directory, killed=killed) for killed in (False, True))
        is_good = stopped and killed
    except (StackError, Unexpected) as error:
        print(error, file=sys.stderr)
        is_good = False
    if is_good or not any(directory.iterdir()):
        shutil.rmtree(directory)
    else:
        print(f"kept for whoever looks into it: {directory}")
    return 0 if is_good else 1


def render(report: Report) -> str:
    """A line for each order, and what is wrong besides."""
    titles = ("", "left waiting for", "under the new one", "ended as", "")
    rows = [
        (
            "ok" if order.is_as_promised else "WRONG",
            order.scene.waits,
            order.scene.then,
            str(order.ending),
            "" if order.is_as_promised else order.problem or f"promised: {order.scene.ending}",
        )
        for order in report.orders
    ]
    widths = [max(map(len, column)) for column in zip(titles, *rows, strict=True)]
    lines = ["  ".join(map(str.ljust, row, widths)).rstrip() for row in (titles, *rows)]
    lines.append(f"other problems: {len(report.problems)}")
    lines += [f"  {problem}" for problem in report.problems]
    return "\n".join(lines)


def _run(old: Checkout, directory: Path, *, killed: bool) -> bool:
    how = "killed" if killed else "stopped"
    new = working_tree(sys.executable)
    print(f"From {old.label}, {how}, to {new.label}:", flush=True)
    data = directory / how
    data.mkdir()
    report = upgrade(old, new, data, killed=killed)
    print(render(report), end="\n\n", flush=True)
    return report.is_good


def _parse() -> str:
    parser = argparse.ArgumentParser(prog="make upgrade", description=__doc__)
    parser.add_argument("revision", metavar="REV", help="the revision that leaves the orders open")
    revision: str = parser.parse_args().revision
    return revision


if __name__ == "__main__":
    sys.exit(main())
