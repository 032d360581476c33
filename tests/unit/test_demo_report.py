"""scripts/experiments/demo_report.py: the table of the demo, and the labels of lines that end close to each other."""

import sys

import demo_report
import pytest
from outputs import draw_with


def test_names_keep_their_heights_where_there_is_room():
    assert demo_report.spread({"a": 1.0, "b": 5.0}, 1.0) == {"a": 1.0, "b": 5.0}


def test_names_too_close_move_apart_around_their_middle():
    assert demo_report.spread({"a": 3.0, "b": 3.0, "c": 9.0}, 1.0) == {"a": 2.5, "b": 3.5, "c": 9.0}


def test_names_that_move_into_others_take_them_along():
    """a and b move to 2.5 and 3.5, which is too close to c at 4. The three are then centred at 10/3."""
    found = demo_report.spread({"c": 4.0, "a": 3.0, "b": 3.0}, 1.0)
    assert [found[name] for name in "abc"] == pytest.approx([10 / 3 - 1, 10 / 3, 10 / 3 + 1])


def test_the_table_says_what_took_how_long_and_what_was_constrained():
    score = {"bleu": 50.0, "sentences": 9, "signature": "s"}
    scores = {(system, beam): score for system in demo_report.SYSTEMS for beam in (1, 5)}
    scores["more-con", 5] = {**score, "bleu": 61.25}
    seconds = {"nll": 120.4, "more": 60.0, "bso": 60.0, "bso-con": 60.0, "last-con": 60.0}
    lines = [line.split() for line in demo_report.make_table(scores, seconds).split("\n")]
    assert ["cross", "entropy", "120", "s", "no", "50.0", "50.0"] in lines
    assert ["cross", "entropy", "continued", "60", "s", "yes", "50.0", "61.2"] in lines
    assert sum(line[-2:] == ["50.0", "50.0"] for line in lines) == len(demo_report.SYSTEMS) - 1


def test_without_matplotlib_a_line_says_that_there_is_no_picture(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert not draw_with(demo_report.draw, tmp_path / "demo.png", {}, {}, None)
    assert "No picture" in capsys.readouterr().out and not list(tmp_path.iterdir())
