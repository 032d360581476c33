"""The report of a distillation: the values that it reads from fairseq-generate's output, and its table."""

import distillation_report
import pruning_grid
import pytest
import torch

LOG = """S-1\tein hund
T-1\ta dog
H-1\t-0.5\ta dog
D-1\t-0.5\ta dog
P-1\t-1.0 -0.5 -0.5
H-1\t-0.9\tdog
P-1\t-3.0 -1.0
S-0\tdie katze schläft
P-0\t-1.0
2026-11-22 | INFO | Translated 2 sentences (4 tokens) in 0.5s (4.00 sentences/s, 8.00 tokens/s)
"""


def test_the_best_hypothesis_of_each_sentence_counts(tmp_path):
    log = tmp_path / "beam5.txt"
    log.write_text(LOG, encoding="utf-8")
    assert distillation_report.positional(log) == [[-1.0, -0.5, -0.5], [-1.0]]
    assert distillation_report.source_words(log) == 5


def test_the_table_has_a_line_for_each_system():
    row = {"name": "student", "parameters": 3_940_000, "bleu 1": 30.04, "bleu 5": 31.0, "perplexity": 8.25}
    row.update({"p(mode)": 0.0169, "words/s 1": 1051.3, "words/s 5": 101.9, "signature": "s"})
    assert "| student | 3.9M | 30.0 | 31.0 | 8.2 | 1.7% | 1051 | 102 |" in distillation_report.table([row, row])


def test_a_system_without_a_checkpoint_is_refused(tmp_path, capsys):
    line = ["data", "--reference", "text", "--out", str(tmp_path), "--system", f"student={tmp_path}/none.pt"]
    with pytest.raises(SystemExit):
        distillation_report.parse_arguments(line)
    assert "must be NAME=CHECKPOINT, and the checkpoint must exist" in capsys.readouterr().err


def test_tied_matrices_count_once_also_where_they_are_written_out_one_by_one(tmp_path):
    tied, other = torch.tensor([[1.0, 0.0], [2.0, 3.0]]), torch.tensor([[1.0, 0.0], [2.0, 4.0]])
    model = {"encoder": tied, "decoder": tied.clone(), "scorer": other, "bias": torch.zeros(2), "more": torch.zeros(2)}
    torch.save({"model": model}, tmp_path / "model.pt")
    assert distillation_report.parameters(str(tmp_path / "model.pt")) == 4 + 4 + 2 + 2
    assert pruning_grid.kept(tmp_path / "model.pt") == (3 + 3, 4 + 4 + 2 + 2)
