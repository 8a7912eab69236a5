"""A short run of the fault harness, and the proof that it would notice.

The long one is `make faults`.
"""

from pathlib import Path

import pytest

from tests.faults.plan import draw_control, draw_plan
from tests.faults.run import Rules, carry_out

pytestmark = pytest.mark.long

RULES = Rules(reservation_ttl=10, payment_wait=3, patience=90, quiet_within=90)
IMPATIENT = Rules(reservation_ttl=8, payment_wait=3, patience=15, quiet_within=15)
"""What a removed guard leaves behind may never come to an end."""

WITHIN_SECONDS = 1200
"""Far more than a run takes: on a slow machine it is not the clock that ends it."""


@pytest.mark.timeout(WITHIN_SECONDS)
async def test_nothing_is_lost_and_nobody_charged_twice_while_everything_breaks(
    tmp_path: Path,
) -> None:
    plan = draw_plan(seed=1, purchases=45, kills=8, seconds=15)

    report = await carry_out(plan, RULES, tmp_path)

    assert report.violations == []
    assert report.kills == 8
    assert sum(report.outcomes.values()) >= 45


@pytest.mark.timeout(WITHIN_SECONDS)
async def test_control_silence_taken_for_a_no_keeps_the_money_of_a_cancelled_order(
    tmp_path: Path,
) -> None:
    report = await carry_out(draw_control(seed=1), IMPATIENT, tmp_path, sabotage="unknown-answers")

    assert any(violation.startswith("I5: order") for violation in report.violations)
