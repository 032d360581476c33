"""scripts/benchmarks/benchmark_view.py: the lines that it prints."""

import benchmark_view


def test_errors_are_shown_even_if_no_question_had_an_answer(capsys):
    benchmark_view.report("one client", {}, ["select: nothing there"])
    assert capsys.readouterr().out.split("\n")[1:-1] == ["one client", "  errors: 1", "    select: nothing there"]


def test_each_kind_of_question_has_a_line_and_so_have_all(capsys):
    benchmark_view.report("one client", {"select": [0.25] * 3, "match, fast": [1.0]}, [])
    lines = capsys.readouterr().out.split("\n")
    assert lines[2].split() == "match, fast 1 answers, median 1.000 s, 95 % below 1.000 s".split()
    assert [line.split()[0] for line in lines[2:6]] == ["match,", "select", "all", "errors:"]
