"""scripts/benchmarks/earlier.py: a comparison of results with those of an earlier run."""

import json

import earlier
import pytest

SIZES = dict.fromkeys(earlier.SIZES, 1)
BEFORE = {**SIZES, "updates": {"nll seconds": 0.5, "beam 6": {"median": 1.2, "quartiles": [1, 2]}, "gone": 3}}


def test_numbers_that_both_have_stand_beside_each_other():
    now = {"nll seconds": 0.25, "beam 6": {"median": 1.5, "quartiles": [3, 4]}, "new": 7, "name": "text", "right": True}
    assert earlier.lines(BEFORE["updates"], now) == [
        "nll seconds: 0.5 before, 0.25 now, 0.50 times",
        "beam 6, median: 1.2 before, 1.5 now, 1.25 times",
    ]
    assert earlier.lines({"zero": 0}, {"zero": 2}) == ["zero: 0 before, 2 now, no ratio"]
    assert earlier.lines(None, now) == []


def test_another_size_is_refused(tmp_path):
    path = tmp_path / "results.json"
    path.write_text(json.dumps(BEFORE))
    before = earlier.read(path)
    assert before == BEFORE
    earlier.refuse_other_sizes(path, before, SIZES)
    with pytest.raises(SystemExit, match="with threads 1, now 2: give the same sizes"):
        earlier.refuse_other_sizes(path, before, {**SIZES, "threads": 2})


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"device": "cpu"}'])
def test_a_file_without_results_is_one_line(tmp_path, content):
    path = tmp_path / "results.json"
    path.write_text(content)
    with pytest.raises(SystemExit, match="no results of benchmark.py"):
        earlier.read(path)
    with pytest.raises(SystemExit, match="no results of benchmark.py"):
        earlier.read(tmp_path / "missing")
