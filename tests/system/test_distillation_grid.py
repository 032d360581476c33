"""scripts/experiments/distillation_grid.py: all systems and the table; a second run trains nothing."""

import json
from pathlib import Path
from types import SimpleNamespace

import distillation_grid
from distillation_grid import Grid, parse_arguments
from endurance.number_words import write_corpus
from system_commands import experiment


def grid(folder, out, *arguments):
    """Runs the program with a teacher and students of a few units and updates."""
    command = [folder, "--out", out, "--cpu", "--threads", 1]
    command += ["--reference", folder / "test.tgt", "--subset", "test", "--teacher-top-k", 4]
    command += ["--teacher-max-tokens", 200, "--student-max-tokens", 4000, "--teacher-size", 12, "--teacher-layers", 1]
    command += ["--teacher-updates", 3, "--student-updates", 3, "--inter-updates", 1]
    return experiment("distillation_grid", *command, *arguments)


def test_every_system_is_trained_once_and_measured(data, tmp_path, monkeypatch):
    # The report is a command of its own; here it runs in this process.
    here = SimpleNamespace(run=lambda command: experiment(Path(command[1]).stem, *command[2:]))
    monkeypatch.setattr(distillation_grid, "subprocess", here)
    # This text is the same as that of the shared data.
    write_corpus(tmp_path, "test", sentences=30, seed=2)
    (tmp_path / "data-bin").symlink_to(data)
    out = tmp_path / "out"
    grid(tmp_path, out, "--train-only", "--bf16", "--sizes", 8)
    for system in ("gold", "word", "seq", "seq-inter", "word-seq", "word-seq-inter"):
        assert (out / f"{system}-8" / "checkpoint_last.pt").is_file()
    assert list((out / "teacher" / "likeliest").glob("*.npz"))  # written once for all students
    assert not (out / "report").exists()

    # A second run trains nothing; without sizes it measures only the teacher.
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*.pt")}
    done = grid(tmp_path, out, "--bf16", "--sizes")
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.pt")} == before
    assert done.stdout.count("done before") == 3
    (row,) = json.loads((out / "report" / "results.json").read_text())
    assert row["name"] == "teacher" and row["parameters"] > 0


def test_the_report_has_a_row_for_every_system_of_every_size(tmp_path):
    (tmp_path / "data-bin").mkdir()
    words = [str(tmp_path), "--out", str(tmp_path / "out"), "--reference", str(tmp_path / "data-bin")]
    command = Grid(parse_arguments([*words, "--sizes", "32", "16"])).report()
    systems = [word.partition("=")[0] for word in command if word.endswith("checkpoint_last.pt")]
    assert len(systems) == len(set(systems)) == 13
    assert systems[0] == "teacher" and systems[-1] == "Word + Seq + Inter, 16"
