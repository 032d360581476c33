"""scripts/experiments/compare_training.py on a few sentences: all stages, the tables, a second run without training."""

import json

from system_commands import experiment


def test_the_quick_comparison_makes_its_tables_and_goes_on_where_it_was(tmp_path):
    command = ["compare_training", "tatoeba", "--quick", "--cpu", "--threads", 1, "--seeds", 1, "--out", tmp_path]
    experiment(*command, "--only", "bso-con", "--train-only")
    before = (tmp_path / "seed1" / "bso-con" / "checkpoint_best.pt").stat().st_mtime_ns
    done = experiment(*command, "--only", "nll-more", "bso-con")
    assert (tmp_path / "seed1" / "bso-con" / "checkpoint_best.pt").stat().st_mtime_ns == before
    assert (tmp_path / "gains.png").read_bytes().startswith(b"\x89PNG")
    text = (tmp_path / "results.txt").read_text()
    assert text.strip() in done.stdout
    assert "gain over continued cross entropy" in text and "words of the output for each of the reference" in text
    found = json.loads((tmp_path / "results.json").read_text())
    rows = [(cell["training"], cell["constrained"], cell["beam"], "p" in cell) for cell in found["results"]]
    assert rows == [
        (training, True, beam, training == "bso-con") for training in ("nll", "nll-more", "bso-con") for beam in (1, 3)
    ]
