"""The results of the benchmarks: rows, targets, and how they are stored."""

import json
from pathlib import Path

import pytest

from bench import results
from bench.figures import Curve, Row, Target, absolute_row, percentile, relative_row


def test_a_ratio_is_that_of_what_was_measured_side_by_side() -> None:
    row = relative_row("orders/s", [10.0, 30.0, 20.0], [20.0, 40.0, 50.0], "1/s")
    assert row.ratio is not None
    # Not 20 / 40: the machine was slower while the first pair was measured.
    assert (row.ratio.least, row.ratio.median, row.ratio.most) == (0.4, 0.5, 0.75)


@pytest.mark.parametrize(
    ("target", "value", "is_ok"),
    [
        (Target(">=", 0.6), 0.6, True),
        (Target(">=", 0.6), 0.59, False),
        (Target("<=", 30.0), 30.1, False),
        (Target("==", 1), 1, True),
        (Target("==", 1), 2, False),
        (None, 2, None),
    ],
)
def test_a_row_says_whether_its_target_is_reached(
    target: Target | None, value: float, is_ok: bool | None
) -> None:
    assert absolute_row("sold", value, "", target).is_ok is is_ok


def test_the_target_is_for_the_ratio_where_there_is_one() -> None:
    assert relative_row("latency", [110.0], [100.0], "ms", Target("<=", 1.2)).is_ok


def test_what_is_relative_to_nothing_reaches_no_target() -> None:
    for target in (Target(">=", 0.9), Target("<=", 1.2)):
        assert relative_row("orders/s", [5.0], [0.0], "1/s", target).is_ok is False


def test_a_percentile_of_few_values_is_among_them() -> None:
    assert percentile([7.0], 95) == 7.0
    assert percentile([1.0, 2.0, 3.0], 50) == 2.0
    assert 2.0 < percentile([1.0, 2.0, 3.0], 95) <= 3.0


@pytest.fixture
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of the results, with a document around the table."""
    monkeypatch.setattr(results, "LATEST", tmp_path / "latest.json")
    monkeypatch.setattr(results, "CURVES", tmp_path / "curves.json")
    monkeypatch.setattr(results, "PLOTS", tmp_path / "plots")
    monkeypatch.setattr(results, "HEADLINES", ("sold",))
    monkeypatch.setattr(results, "DOCUMENT", tmp_path / "performance.md")
    (tmp_path / "performance.md").write_text(f"before\n{results.BEGIN}\n{results.END}\nafter\n")
    return tmp_path


def test_results_replace_earlier_ones_of_the_same_benchmark_only(kept: Path) -> None:
    first: dict[str, list[Row | Curve]] = {
        "rush": [absolute_row("sold", 2, "", Target("==", 1))],
        "memory": [
            relative_row("memory of api", [121.0], [110.0], "MiB", Target("<=", 1.1)),
            Curve("memory of api", "purchases", "MiB", [(500, 110.0), (1000, 121.0)]),
        ],
    }
    order = ["rush", "memory"]
    results.store_results(first, order)
    results.store_results({"rush": [absolute_row("sold", 1, "", Target("==", 1))]}, order)

    rows = {row["name"]: row for row in json.loads((kept / "latest.json").read_text())}
    assert rows["sold"]["value"] == 1
    assert rows["sold"]["ok"] is True
    assert rows["memory of api"]["ratio"] == pytest.approx(1.1)
    assert rows["memory of api"]["target"] == "≤ 1.1"
    text = (kept / "performance.md").read_text()
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert text.count("| sold |") == 1
    assert "**not reached**" not in text  # the earlier figure is gone
    assert "memory of api" not in text
    assert (kept / "plots" / "memory.svg").read_text().startswith("<?xml")


def test_the_stored_results_are_those_of_the_document() -> None:
    rows = json.loads(results.LATEST.read_text())
    assert rows
    shown = results.headlines(rows)
    assert {row["name"] for row in shown} >= set(results.HEADLINES)
    assert results.table(shown) in results.DOCUMENT.read_text()
    for row in rows:
        assert {"name", "value", "unit", "reference", "ratio", "target", "ok"} <= row.keys()
