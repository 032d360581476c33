"""`fairseq-bso doctor`: versions, registration and a tiny training, on one screen."""

import fairseq
import torch

from fairseq_bso import cli
from fairseq_bso.doctor import self_test as tested
from fairseq_bso.doctor import surroundings
from fairseq_bso.doctor.self_test import Outcome


def rows(capsys):
    """name -> value of the printed rows."""
    return {line[:14].strip(): line[14:] for line in capsys.readouterr().out.splitlines()}


def test_it_says_what_is_here_and_that_a_model_trains(capsys):
    state, threads = torch.get_rng_state(), torch.get_num_threads()
    assert cli.main(["doctor"]) == 0
    found = rows(capsys)
    assert found["torch"] == torch.__version__.split("+")[0] or found["torch"] == torch.__version__
    assert fairseq.__version__.split("+")[0][:6] in found["fairseq"]
    assert found["plugins"] == "registered with fairseq"
    assert found["self test"].startswith("loss ") and "should" not in found["self test"]
    assert torch.equal(torch.get_rng_state(), state) and torch.get_num_threads() == threads


def test_a_model_that_does_not_learn_is_said_and_ends_with_1(capsys, monkeypatch):
    for after in (3.0, float("nan")):
        monkeypatch.setattr(tested, "self_test", lambda after=after: Outcome(4.0, after, 1.0))
        assert cli.main(["doctor"]) == 1
        assert "it should fall by half" in rows(capsys)["self test"]


def test_a_library_that_is_missing_is_named_with_its_use(monkeypatch):
    monkeypatch.setattr(surroundings, "version_of", lambda package: "" if package in ("h5py", "fairseq-fixed") else "1")
    found = dict(surroundings.library_rows())
    assert found["h5py"] == "not installed: needed for `states` and `view`"
    assert found["fairseq"] == "fairseq 1, ve-fairseq 1" and found["torch"] == "1"


def test_the_features_of_a_processor(tmp_path):
    path = tmp_path / "cpuinfo"
    path.write_text("model name : x avx2\nflags : fpu avx512f avx2 amx_bf16\nflags : fpu\n")
    assert surroundings.processor_flags(path) == ["avx2", "avx512f", "amx_bf16"]
    assert surroundings.processor_flags(tmp_path / "none") == []
