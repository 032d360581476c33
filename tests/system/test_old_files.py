"""Files that an earlier commit wrote can still be used. `old_files/ORIGIN.txt` names the commands that wrote them."""

import gzip
import json
import os
import re
import shutil
from pathlib import Path

import numpy
import pytest
from system_commands import BSO, PLUGIN, ROOT, call, run, train

from bso_runtime import model_file
from fairseq_bso import cli

OLD = ROOT / "tests" / "old_files"
SIZES = "--encoder-embed-dim 12 --encoder-hidden-size 16 --decoder-embed-dim 12 --decoder-hidden-size 16".split()
KINDS = {
    "softmax": (["--criterion", "cross_entropy", "--lr", "0.02"], 25, 200),
    "unnormalized": (
        [*BSO, "--task", "bso_translation", "--train-beam", "3", "--delta", "sentence_bleu", "--lr", "0.005"],
        3,
        24,
    ),
}
"""scorer -> the options of its training, and the numbers of epochs and updates at its end"""


def lines(name):
    """The lines of an old text file."""
    return (OLD / name).read_text(encoding="utf-8").splitlines()


def unpacked(kind, folder):
    """Unpacks the old checkpoint of a scorer; returns its path."""
    folder.mkdir(exist_ok=True)
    path = folder / "checkpoint_last.pt"
    path.write_bytes(gzip.decompress((OLD / f"{kind}.pt.gz").read_bytes()))
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_generates_what_it_did(kind, tmp_path):
    common = ["--user-dir", PLUGIN, "--task", "bso_translation", "--cpu", "--beam", 5]
    output = run("generate", OLD / "data", *common, "--path", unpacked(kind, tmp_path)).stdout
    found = {int(number): text for number, text in re.findall(r"^H-(\d+)\t\S+\t(.*)$", output, re.M)}
    assert [found[number] for number in sorted(found)] == lines(f"{kind}.txt")


@pytest.mark.parametrize("kind", KINDS)
def test_training_goes_on_from_a_checkpoint(kind, tmp_path):
    """Training resumes with the optimizer's state, and runs one more epoch."""
    options, epochs, updates = KINDS[kind]
    unpacked(kind, tmp_path)
    done = train(OLD / "data", tmp_path, *SIZES, *options, "--max-epoch", epochs + 1, "--no-epoch-checkpoints")
    log = done.stdout + done.stderr
    assert f"Loaded checkpoint {tmp_path}/checkpoint_last.pt (epoch {epochs + 1} @ {updates} updates)" in log
    assert re.search(rf"\| train \| epoch {epochs + 1:03} \| .*\| num_updates {updates + 8} \|", log), log
    (loss,) = re.findall(rf"\| train \| epoch {epochs + 1:03} \| loss ([\d.]+)", log)
    assert float(loss) < {"softmax": 1.1, "unnormalized": 0.25}[kind]  # untrained models have 4 and 1


def test_a_distilled_cache_is_read_and_not_made_again(tmp_path):
    shutil.copytree(OLD / "cache", tmp_path / "cache")
    teacher = ["--teacher-path", unpacked("softmax", tmp_path / "teacher"), "--distill-cache", tmp_path / "cache"]
    sequence = ["--task", "sequence_distillation", "--criterion", "cross_entropy", *teacher]
    done = train(OLD / "data", tmp_path / "student", *SIZES, *sequence, "--max-update", 1, "--disable-validation")
    log = done.stdout + done.stderr
    assert "120 pairs, 120 sentences" in log and "distilling" not in log
    done = call("fairseq_bso.cli:main", "distill", OLD / "data", *teacher, "--cpu")
    assert done.returncode == 0 and "distilling" not in done.stdout + done.stderr, done.stderr
    assert contents(tmp_path / "cache") == contents(OLD / "cache")


def contents(folder):
    """The content of all files under a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_an_exported_file_translates_to_the_same_text(tmp_path, capsys):
    options = ["--input", str(OLD / "source.txt"), "--beam", "5"]
    assert cli.main(["translate", str(OLD / "softmax.bso"), *options]) == 0
    assert capsys.readouterr().out.splitlines() == lines("softmax.txt")


def test_an_exported_file_is_as_it_was(tmp_path, monkeypatch):
    """All parts are compared after decompression, because their compressed size depends on zlib."""
    monkeypatch.chdir(OLD)  # the checkpoint has a relative path of its data
    checkpoint = unpacked("softmax", tmp_path)
    assert cli.main(["export", str(checkpoint), str(tmp_path / "new.bso"), "--dtype", "float16"]) == 0
    old, new = header(OLD / "softmax.bso"), header(tmp_path / "new.bso")
    assert old == new
    old, new = (model_file.read(path) for path in (OLD / "softmax.bso", tmp_path / "new.bso"))
    assert all((new.tensors[name] == tensor).all() for name, tensor in old.tensors.items())
    assert old.vocabularies == new.vocabularies


def header(path):
    """The header of a model file, without the compressed lengths."""
    content = path.read_bytes()
    length = model_file.HEAD.unpack_from(content)[-1]
    found = json.loads(content[model_file.HEAD.size : model_file.HEAD.size + length])
    for part in found["parts"]:
        del part["stored"]
    return found


def test_a_capture_opens_for_the_view(tmp_path):
    from fairseq_bso.interpret.folder.index import open_index
    from fairseq_bso.interpret.folder.reader import open_capture

    folder = Path(shutil.copytree(OLD / "states", tmp_path / "states"))
    for name in ("encoder", "decoder"):  # an index checks a file time, which git does not keep
        written = json.loads((folder / name / "index.json").read_text())["source_mtime_ns"]
        os.utime(folder / name / "states.hdf5", ns=(written, written))
    capture = open_capture(folder)
    assert capture.describe()["checkpoint"] == "checkpoint_last.pt" and capture.describe()["attention"]
    encoder, decoder = capture.sides["encoder"], capture.sides["decoder"]
    assert encoder.sentences == decoder.sentences == 10
    assert [one.name for one in decoder.states] == ["hidden1", "cell1", "attentional"]
    begin, end = encoder.offsets[1:3]
    assert encoder.text(begin, end) == [*lines("source.txt")[1].split(), "</s>"]
    numpy.testing.assert_allclose(capture.weights(3).sum(1), 1, atol=1e-2)  # stored in float16
    assert decoder.predictions[0].shape == (decoder.steps, 2)
    for side in (encoder, decoder):
        kept = numpy.array(open_index(side).rows)
        (side.folder / "index.json").unlink()
        assert (numpy.array(open_index(side).rows) == kept).all()
