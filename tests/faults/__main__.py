"""`make faults` and `make faults-control`."""

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
from pathlib import Path

from tests.faults.plan import Plan, draw_control, draw_plan
from tests.faults.run import Report, Rules, carry_out
from tests.faults.sabotage import GUARDS

SECONDS_PER_KILL = 3.5

CONTROL_RULES = Rules(reservation_ttl=15, patience=30, quiet_within=30)
"""What a removed guard leaves behind may never come to an end."""


def main() -> None:
    """Run, tell, and exit with 1 if anything is as it should not be (or, in a control, is)."""
    arguments = _parse()
    if arguments.control:
        sys.exit(_run_controls(arguments.seed))
    plan = draw_plan(
        arguments.seed,
        purchases=arguments.purchases,
        kills=arguments.kills,
        seconds=arguments.kills * SECONDS_PER_KILL,
    )
    report = _run(plan, Rules())
    print(render(report))
    sys.exit(1 if report.violations else 0)


def render(report: Report) -> str:
    """What a run did and what it survived, for people."""
    lines = [
        f"seed {report.plan.seed}: {len(report.plan.purchases)} purchases, {report.kills} kills, "
        f"{report.seconds:.0f} s",
        f"the machine worked for {report.machine_seconds:.0f} s of them; when all was calm, "
        f"reservations ended up to {report.calm_lateness:.1f} s late",
        _counted("broken", report.broken),
        _counted("operators did", report.acts),
        _counted("ended", report.outcomes),
        _counted("HTTP answers (0: none)", report.answers),
        f"captured: {report.captured} (minor units)",
        f"violations: {len(report.violations)}",
        *(f"  {violation}" for violation in report.violations),
        f"again: make faults SEED={report.plan.seed}",
    ]
    return "\n".join(lines)


def _run(plan: Plan, rules: Rules, sabotage: str = "") -> Report:
    directory = Path(tempfile.mkdtemp(prefix="holdfast-faults-"))
    report = asyncio.run(carry_out(plan, rules, directory, sabotage))
    if report.violations and not sabotage:
        print(f"kept for whoever looks into it: {directory}")
    else:
        shutil.rmtree(directory)
    return report


def _run_controls(seed: int) -> int:
    """0 if every removed guard was missed."""
    plan = draw_control(seed)
    unnoticed = []
    for guard in GUARDS:
        report = _run(plan, CONTROL_RULES, guard)
        print(f"without {guard}: {len(report.violations)} violations, such as")
        print("\n".join(f"  {violation}" for violation in report.violations[:3]))
        if not report.violations:
            unnoticed.append(guard)
    if unnoticed:
        print(f"not noticed: {', '.join(unnoticed)}; again: make faults-control SEED={seed}")
    return len(unnoticed)


def _counted(title: str, counted: "dict[str, int] | dict[int, int]") -> str:
    parts = [f"{key} {count}" for key, count in sorted(counted.items(), key=lambda x: str(x[0]))]
    return f"{title}: " + ", ".join(parts)


def _parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10_000))
    parser.add_argument("--purchases", type=int, default=320)
    parser.add_argument("--kills", type=int, default=44)
    parser.add_argument("--control", action="store_true", help="remove each guard, and notice")
    return parser.parse_args()


if __name__ == "__main__":
    main()
