"""`python -m bench.cost_of_an_order`, as docs/operations.md shows it."""

import re
import subprocess
import sys

import pytest

from devstack.process import REPOSITORY

KINDS = ["completed", "declined", "expired"]


@pytest.mark.long
def test_it_tells_what_each_kind_of_order_leaves_behind() -> None:
    command = [sys.executable, "-m", "bench.cost_of_an_order", "--orders", "2"]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    rows = re.findall(r"^\| (\w+) +\| (\d+) \| ([\d,]+) \| ([\d,]+) \|", done.stdout, re.MULTILINE)
    assert [kind for kind, *_ in rows] == KINDS
    costs = [[int(number.replace(",", "")) for number in row] for _, *row in rows]
    for events, history, documents in costs:
        assert 10 < events < 60
        assert 2_000 < history < 12_000
        assert 500 < documents < 3_000
    # A payment costs more than none.
    assert costs[0] > costs[2]
