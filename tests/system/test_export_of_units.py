"""Exports without pruned units translate as fairseq-generate does with the pruned checkpoint."""

import importlib.util

from system_commands import generated

from bso_runtime import model_file
from fairseq_bso import cli
from fairseq_bso.export import zero_units


def test_a_model_without_its_pruned_units_translates_the_same(data, softmax_checkpoint, tmp_path, capsys, monkeypatch):
    pruned, text = str(tmp_path / "pruned.pt"), str(data.parent / "test.src")
    assert cli.main(["prune", str(softmax_checkpoint), pruned, "--units", "0.3"]) == 0
    assert "continue its training with --finetune-from-model and the same --prune-units" in capsys.readouterr().out
    assert cli.main(["export", pruned, str(tmp_path / "small")]) == 0
    said = capsys.readouterr().out
    assert "without zero units: encoder_layer_1+decoder_layer_1 22 of 32, source_embedding 22 of 32" in said
    assert model_file.read(tmp_path / "small").tensors["decoder.output_weight"].shape[1] == 22
    ways = ["small"]
    if importlib.util.find_spec("onnx") and importlib.util.find_spec("onnxruntime"):
        assert cli.main(["export", pruned, str(tmp_path / "graphs"), "--format", "onnx"]) == 0
        ways.append("graphs")
    monkeypatch.setattr(zero_units, "without_zero_units", lambda state, tensors: (tensors, {}))
    assert cli.main(["export", pruned, str(tmp_path / "large")]) == 0
    assert (tmp_path / "small").stat().st_size < (tmp_path / "large").stat().st_size
    for beam in (1, 5):
        expected = generated(data, pruned, "--beam", beam)
        assert len(set(expected)) > 3
        for name in (*ways, "large"):
            capsys.readouterr()
            line = ["translate", str(tmp_path / name), "--beam", str(beam), "--input", text]
            assert cli.main(line) == 0 and capsys.readouterr().out.splitlines() == expected
