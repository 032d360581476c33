"""The journal of the endurance campaigns: half lines, failed cases that are run again, and the table."""

from endurance.journal import Journal, table


def add(journal, number, kind, failure=None, size=1):
    journal.add(seed=1, number=number, kind=kind, failure=failure, size=size, about="")


def test_a_second_run_goes_on_after_the_last_whole_line(tmp_path):
    add(Journal(tmp_path, "kills"), 0, "export")
    with open(tmp_path / "kills.jsonl", "a") as file:
        file.write('{"seed": 1, "num')
    journal = Journal(tmp_path, "kills")
    assert journal.done(1) == {0} and journal.done(2) == set()
    add(journal, 1, "export")
    assert Journal(tmp_path, "kills").done(1) == {0, 1}


def test_failed_cases_of_a_kind_are_run_again(tmp_path):
    journal = Journal(tmp_path, "kills")
    for number, (kind, failure) in enumerate((("export", "a"), ("prune", "b"), ("export", None))):
        add(journal, number, kind, failure)
    journal.forget_failures(lambda kind: kind == "export")
    for one in (journal, Journal(tmp_path, "kills")):
        assert one.done(1) == {1, 2}
    add(journal, 0, "export", size=2000)
    rows = table([Journal(tmp_path, "kills")], {"kills": {"export": "E", "prune": "P", "states": "S"}}).split("\n")[2:]
    assert rows == [
        "| kills/export | 2,001 | E | 0 |",
        "| kills/prune | 1 | P | 1 |",
    ]


def test_a_case_that_two_runs_did_at_once_counts_once(tmp_path):
    case = {"seed": 1, "number": 4, "kind": "export", "size": 1, "failure": None, "about": ""}
    for failure in ("a fault", None):  # neither run has read the other's line
        Journal(tmp_path, "kills").add(**{**case, "failure": failure})
    (tmp_path / "kills.jsonl").write_text((tmp_path / "kills.jsonl").read_text() * 2)
    assert [one["failure"] for one in Journal(tmp_path, "kills").cases] == [None]
