"""Exported models give fairseq-generate's output where neither fairseq nor torch is installed."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest
from system_commands import BSO, PLUGIN, ROOT, run, train

from bso_runtime import container
from fairseq_bso import commands
from fairseq_bso.errors import BadInput

ALL_OF_IT = ["numpy", "sentencepiece", "onnxruntime"]  # what `translate` may need
CONSTRAINED = ["--task", "bso_translation", "--successors", "word_order"]


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """Runs Python in an environment of its own, with what `translate` needs and nothing else."""
    folder = tmp_path_factory.mktemp("bare")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", folder], check=True)
    (packages,) = folder.glob("lib/python*/site-packages")
    for found in filter(None, map(importlib.util.find_spec, ALL_OF_IT)):
        installed = Path(found.origin).parent
        for path in (installed, installed.with_name(installed.name + ".libs")):
            if path.is_dir():
                (packages / path.name).symlink_to(path)
    (packages / "bso_runtime").symlink_to(ROOT / "bso_runtime")

    def python(*arguments, text=None):
        line = [folder / "bin" / "python", "-I", *map(str, arguments)]
        return subprocess.run(line, capture_output=True, input=text, encoding="utf-8", cwd=folder)

    return python


@pytest.fixture(scope="module")
def translate(bare):
    """Runs `translate` there."""
    return lambda *arguments, **streams: bare("-m", "bso_runtime", "translate", *arguments, **streams)


def generated(data, checkpoint, *options):
    """The best hypotheses of fairseq-generate, in order."""
    common = ["--user-dir", PLUGIN, "--task", "bso_translation", "--path", checkpoint, "--cpu"]
    output = run("generate", data, *common, *options).stdout
    found = {int(number): text for number, text in re.findall(r"^H-(\d+)\t\S+\t(.*)$", output, re.M)}
    return [found[number] for number in sorted(found)]


def test_there_is_neither_fairseq_nor_torch(bare):
    for name in ("fairseq", "fairseq_bso", "torch"):
        done = bare("-c", f"import {name}")
        assert f"No module named '{name}'" in done.stderr and done.returncode == 1
    done = bare("-m", "bso_runtime", "export", "a", "b")
    assert done.returncode == 1 and "only `translate` runs without the package fairseq_bso" in done.stderr


@pytest.mark.parametrize("kind, beam", [("softmax", 1), ("softmax", 5), ("unnormalized", 3)])
def test_translations_equal_those_of_fairseq_generate(
    data, softmax_checkpoint, bso_run, translate, tmp_path, capsys, kind, beam
):
    """Line by line, in batches, and with ONNX Runtime."""
    checkpoint = softmax_checkpoint if kind == "softmax" else bso_run[0]
    assert commands.main(["export", str(checkpoint), str(tmp_path / "model")]) == 0
    assert "bytes, float32" in capsys.readouterr().out
    ways = [["model"], ["model", "--batch-size", 7]]
    if importlib.util.find_spec("onnx") and importlib.util.find_spec("onnxruntime"):
        assert commands.main(["export", str(checkpoint), str(tmp_path / "graphs"), "--format", "onnx"]) == 0
        ways += [["graphs"], ["graphs.step.onnx", "--batch-size", 30]]
    expected = generated(data, checkpoint, "--beam", beam)
    for name, *options in ways:
        done = translate(tmp_path / name, *options, "--beam", beam, "--input", data.parent / "test.src")
        assert done.returncode == 0, done.stderr
        assert len(expected) == 30 and done.stdout.splitlines() == expected


@pytest.mark.parametrize("kind", ["softmax", "unnormalized"])
def test_under_a_constraint_too(data, softmax_checkpoint, translate, tmp_path, kind):
    """Asked for, and remembered from training."""
    checkpoint, asked = softmax_checkpoint, ["--successors", "word_order"]
    if kind == "unnormalized":
        options = [*BSO, *CONSTRAINED, "--train-beam", 3, "--max-epoch", 1, "--finetune-from-model", softmax_checkpoint]
        train(data, tmp_path, *options)
        checkpoint, asked = tmp_path / "checkpoint_last.pt", []
    assert commands.main(["export", str(checkpoint), str(tmp_path / "model")]) == 0
    text = data.parent / "test.src"
    done = translate(tmp_path / "model", "--beam", 4, "--batch-size", 8, "--input", text, *asked)
    assert done.stdout.splitlines() == generated(data, checkpoint, "--beam", 4, *CONSTRAINED), done.stderr
    for source, output in zip(text.read_text().splitlines(), done.stdout.splitlines()):
        assert sorted(source.split()) == sorted(output.split())
    free = translate(tmp_path / "model", "--beam", 4, "--input", text, "--successors", "none")
    assert free.stdout.splitlines() == generated(data, checkpoint, "--beam", 4)


def test_a_subword_model_inside_is_used(translate, tmp_path, softmax_checkpoint, data):
    trainer = pytest.importorskip("sentencepiece").SentencePieceTrainer
    arguments = {"input": str(data.parent / "train.src"), "model_prefix": str(tmp_path / "sp"), "vocab_size": 40}
    trainer.train(**arguments, hard_vocab_limit=False, minloglevel=2)
    assert commands.main(["export", str(softmax_checkpoint), str(tmp_path / "words")]) == 0
    model = container.read(tmp_path / "words")
    pieces = [line.split("\t")[0] for line in (tmp_path / "sp.vocab").read_text(encoding="utf-8").splitlines()]
    symbols = ["<s>", "<pad>", "</s>", "<unk>", *pieces[3:]][: model.texts["source"].count(b"\n") + 1]
    texts = dict.fromkeys(["source", "target"], "\n".join(symbols).encode())
    texts["sentencepiece"] = (tmp_path / "sp.model").read_bytes()
    container.write(tmp_path / "pieces", model.facts, model.tensors, texts, "float32")
    done = translate(tmp_path / "pieces", "--beam", 2, text="three two\n one\n")
    assert done.returncode == 0 and done.stdout.count("\n") == 2, done.stderr
    assert re.search(r"\w", done.stdout) and "\u2581" not in done.stdout


def test_scores_are_printed_in_every_form(softmax_checkpoint, translate, tmp_path):
    sizes = {}
    for numbers in ("float32", "float16", "int8"):
        assert commands.main(["export", str(softmax_checkpoint), str(tmp_path / numbers), "--numbers", numbers]) == 0
        sizes[numbers] = (tmp_path / numbers).stat().st_size
        done = translate(tmp_path / numbers, "--beam", 1, "--print-scores", text="two one\n\nthree\n")
        assert re.fullmatch(r"(-?[\d.]+\t.*\n){3}", done.stdout), done.stderr
    assert sizes["float32"] > sizes["float16"] > sizes["int8"]


def test_each_line_is_written_before_the_next_is_read(softmax_checkpoint, tmp_path):
    assert commands.main(["export", str(softmax_checkpoint), str(tmp_path / "model")]) == 0
    line = [sys.executable, "-m", "bso_runtime", "translate", str(tmp_path / "model"), "--beam", "1"]
    pipe = subprocess.PIPE
    with subprocess.Popen(line, stdin=pipe, stdout=pipe, cwd=ROOT, encoding="utf-8") as running:
        for words in ("two one", "three", ""):
            running.stdin.write(words + "\n")
            running.stdin.flush()
            assert running.stdout.readline().endswith("\n")
        assert running.communicate() == ("", None) and running.returncode == 0


def test_bad_files_and_options_end_with_one_line(softmax_checkpoint, translate, tmp_path):
    assert commands.main(["export", str(softmax_checkpoint), str(tmp_path / "model")]) == 0
    (tmp_path / "short").write_bytes((tmp_path / "model").read_bytes()[:-7])
    for name, message in (("short", "damaged"), ("none", "cannot be read")):
        done = translate(tmp_path / name, text="one\n")
        assert done.returncode == 1 and message in done.stderr and done.stderr.count("\n") == 1
    for option, message in (
        (["--beam", 0], "--beam and --batch-size must be at least 1"),
        (["--successors", "tree"], "--successors tree: unknown successor function: choose from none, word_order"),
        (["--successors", "arc_standard"], "the target dictionary has no reduce label"),
        (["--input", "nothing"], "nothing"),
    ):
        done = translate(tmp_path / "model", *option, text="one\n")
        assert done.returncode == 1 and message in done.stderr and done.stderr.count("\n") == 1
    model = container.read(tmp_path / "model")
    facts = {**model.facts, "successors": "my_own"}
    container.write(tmp_path / "own", facts, model.tensors, model.texts, "float32")
    done = translate(tmp_path / "own", text="one\n")
    assert done.returncode == 1 and "was trained with --successors my_own, which is not known here" in done.stderr
    assert translate(tmp_path / "own", "--successors", "none", text="one\n").stdout.count("\n") == 1
    with pytest.raises(BadInput, match="give its folder with --data"):
        commands.main(["export", str(softmax_checkpoint), str(tmp_path / "out"), "--data", str(tmp_path)])
    with pytest.raises(BadInput, match="--sentencepiece .* cannot be read"):
        commands.main(
            ["export", str(softmax_checkpoint), str(tmp_path / "out"), "--sentencepiece", str(tmp_path / "no")]
        )
    assert not (tmp_path / "out").exists()


def test_onnx_files_are_written_with_their_metadata(softmax_checkpoint, tmp_path, capsys):
    onnx = pytest.importorskip("onnx")
    model = str(tmp_path / "out" / "model")
    assert commands.main(["export", str(softmax_checkpoint), model, "--format", "onnx"]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["model.encoder.onnx", "model.step.onnx"]
    facts = {prop.key: prop.value for prop in onnx.load(model + ".step.onnx").metadata_props}
    assert '"scorer": "softmax"' in facts["facts"] and facts["target"].startswith("<s>\n<pad>\n</s>\n<unk>")
    with pytest.raises(BadInput, match="--numbers int8 is for --format compact"):
        commands.main(["export", str(softmax_checkpoint), model, "--format", "onnx", "--numbers", "int8"])
