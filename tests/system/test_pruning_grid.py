"""scripts/experiments/pruning_grid.py: pruned, retrained and exported models, their translations, and the table."""

import json

from endurance.number_words import write_corpus
from score import bleu, read_lines
from system_commands import TINY, experiment


def test_every_model_is_pruned_exactly_and_translated_with(data, softmax_checkpoint, tmp_path):
    write_corpus(tmp_path, "test", sentences=30, seed=2)  # the same text as in the shared data
    (tmp_path / "data-bin").symlink_to(data)
    out = tmp_path / "out"
    command = [tmp_path, "--start", softmax_checkpoint, "--teacher", softmax_checkpoint, "--out", out]
    command += ["--text", tmp_path / "test.src", "--reference", tmp_path / "test.tgt", "--cpu", "--threads", 1]
    command += ["--schemes", "class_uniform", "units", "--amounts", 0.5, "--unit-amounts", 0.3]
    command += ["--", "--task", "bso_translation", "--criterion", "cross_entropy", *TINY, "--max-update", 3]
    experiment("pruning_grid", *command)
    rows = json.loads((out / "results.json").read_text())
    assert [(row["scheme"], row["amount"], row["retrained"]) for row in rows] == [
        ("", 0.0, False),
        ("", 0.0, True),
        ("class_uniform", 0.5, False),
        ("class_uniform", 0.5, True),
        ("units", 0.3, False),
        ("units", 0.3, True),
    ]
    whole, _, before, after, *units = rows
    assert len({row["parameters"] for row in rows}) == 1
    assert before["kept"] == after["kept"] < 0.6 * whole["kept"]  # vectors are not pruned
    assert units[0]["kept"] == units[1]["kept"] < 0.7 * whole["kept"]
    assert all(row["bytes float32"] < 0.8 * whole["bytes float32"] for row in units)
    for row in rows:
        assert row["bytes int8"] < row["bytes float16"] < row["bytes float32"]
    scored = bleu(read_lines(out / "whole.int8.beam5.txt"), read_lines(tmp_path / "test.tgt"))
    assert whole["bleu int8 5"] == scored["bleu"] > 0
    assert after["bytes float32"] < whole["bytes float32"]
    assert (out / "whole.float32.beam5.txt").read_text().count("\n") == 30
    assert (out / "results.png").read_bytes().startswith(b"\x89PNG")
    assert "| class_uniform | 50% | yes |" in (out / "results.md").read_text()
