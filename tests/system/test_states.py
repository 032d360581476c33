"""The command `fairseq-bso states` on trained models."""

import json
import math
import re
import resource
import subprocess
import sys

import numpy
import pytest
from system_commands import PLUGIN, QUIET, ROOT, run
from tiny_captures import read

from fairseq_bso import cli
from fairseq_bso.interpret.folder.reader import open_capture


@pytest.fixture(scope="module")
def language_model(data, tmp_path_factory):
    """(data, checkpoint) of fairseq's lstm_lm on the target side; each sample is a sentence."""
    folder = tmp_path_factory.mktemp("lm")
    texts = [word for name in ("train", "valid", "test") for word in (f"--{name}pref", data.parent / f"{name}.tgt")]
    run("preprocess", "--only-source", *texts, "--destdir", folder / "data-bin")
    sizes = ["--decoder-embed-dim", 16, "--decoder-hidden-size", 16, "--decoder-out-embed-dim", 16]
    task = ["--task", "language_modeling", "--sample-break-mode", "eos", "--arch", "lstm_lm", "--decoder-layers", 2]
    training = ["--optimizer", "adam", "--lr", 0.01, "--max-tokens", 400, "--max-epoch", 4, "--save-dir", folder]
    run("train", folder / "data-bin", "--user-dir", PLUGIN, *task, *sizes, *training, *QUIET)
    return folder / "data-bin", folder / "checkpoint_best.pt"


def states(*arguments):
    """Runs the command in this process."""
    assert cli.main(["states", *map(str, arguments), "--cpu"]) == 0


@pytest.mark.parametrize("decode_on", ["reference", "output"])
def test_states_of_trained_translation_models(data, checkpoints, tmp_path, capsys, decode_on):
    for name, checkpoint in checkpoints.items():
        states(checkpoint, data, "--out", tmp_path / name, "--decode-on", decode_on, "--beam", 3)
        assert f"{tmp_path / name}: 30 sentences, bso_lstm on test" in capsys.readouterr().out
        capture = open_capture(tmp_path / name)
        facts = json.loads((tmp_path / name / "capture.json").read_text())
        assert facts["mode"] == decode_on and facts["checkpoint"] == "checkpoint_last.pt" and facts["sentences"] == 30
        found = read(tmp_path / name)
        assert ("loss" in found["decoder"], "score" in found["decoder"]) == (name == "softmax", name != "softmax")
        texts = {
            side: [capture.sides[side].text(*found[side]["sentence_offsets"][i : i + 2]) for i in range(30)]
            for side in found
        }
        lines = (data.parent / "test.src").read_text().splitlines()
        assert texts["encoder"] == [[*line.split(), "</s>"] for line in lines]
        if decode_on == "reference":
            lines = (data.parent / "test.tgt").read_text().splitlines()
        else:
            decode = ["--user-dir", PLUGIN, "--task", "bso_translation", "--path", checkpoint, "--cpu", "--beam", 3]
            output = run("generate", data, *decode).stdout
            hypotheses = {int(i): text for i, text in re.findall(r"^H-(\d+)\t\S+\t(.*)$", output, re.M)}
            lines = [hypotheses[i] for i in sorted(hypotheses)]
        assert texts["decoder"] == [["</s>", *line.split()] for line in lines]


def test_losses_of_a_language_model_are_those_of_fairseq_eval_lm(language_model, tmp_path):
    data, checkpoint = language_model
    states(checkpoint, data, "--out", tmp_path / "out", "--gates", "--max-tokens", 50)
    found = read(tmp_path / "out")["decoder"]
    task = ["--task", "language_modeling", "--sample-break-mode", "eos"]
    printed = run("eval_lm", data, "--path", checkpoint, "--user-dir", PLUGIN, "--cpu", "--gen-subset", "test", *task)
    tokens, base2 = re.search(
        r"Evaluated (\d[\d,]*) tokens.*Loss \(base 2\): ([\d.]+)", printed.stdout + printed.stderr, re.S
    ).groups()
    assert len(found["loss"]) == int(tokens.replace(",", ""))
    assert found["loss"].mean() / math.log(2) == pytest.approx(float(base2), abs=6e-4)
    assert {f"{kind}{layer}" for kind in ("hidden", "cell", "forget") for layer in (1, 2)} <= set(found)
    assert numpy.isfinite(found["hidden2"]).all()


def test_a_disk_that_fills_up_ends_with_one_line_and_no_folder(data, softmax_checkpoint, tmp_path):
    code = "import sys; from fairseq_bso.cli import main; sys.exit(main())"
    line = [
        sys.executable,
        "-W",
        "ignore",
        "-c",
        code,
        "states",
        softmax_checkpoint,
        data,
        "--out",
        tmp_path / "out",
        "--cpu",
    ]
    limit = lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))  # noqa: E731
    done = subprocess.run(list(map(str, line)), capture_output=True, text=True, cwd=ROOT, preexec_fn=limit)
    assert done.returncode == 1
    assert "cannot be written" in done.stderr and "make room there" in done.stderr and "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []
