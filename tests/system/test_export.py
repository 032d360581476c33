"""Exported models reproduce fairseq-generate's output without an installed fairseq or torch."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from system_commands import BSO, ROOT, generated, train

from bso_runtime import model_file
from fairseq_bso import cli
from fairseq_bso.checkpoints import load_state
from fairseq_bso.errors import UserError

ALL_OF_IT = ["numpy", "sentencepiece", "onnxruntime"]  # the packages that `translate` may need
CONSTRAINED = ["--task", "bso_translation", "--successors", "word_order"]


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """Runs Python in an environment that has only the packages for `translate`."""
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
    """Runs `translate` in the bare environment."""
    return lambda *arguments, **streams: bare("-m", "bso_runtime", "translate", *arguments, **streams)


def test_there_is_neither_fairseq_nor_torch(bare):
    for name in ("fairseq", "fairseq_bso", "torch"):
        done = bare("-c", f"import {name}")
        assert f"No module named '{name}'" in done.stderr and done.returncode == 1
    done = bare("-m", "bso_runtime", "export", "a", "b")
    assert done.returncode == 1 and "only `translate` runs without the package fairseq_bso" in done.stderr


@pytest.mark.parametrize("beam", [1, 5])
@pytest.mark.parametrize("kind", ["softmax", "summed", "unnormalized"])
def test_translations_equal_those_of_fairseq_generate(data, checkpoints, translate, tmp_path, capsys, kind, beam):
    """Translations are compared line by line, in batches, and with ONNX Runtime."""
    checkpoint = checkpoints[kind]
    assert cli.main(["export", str(checkpoint), str(tmp_path / "model")]) == 0
    assert "bytes, float32" in capsys.readouterr().out
    ways = [["model"], ["model", "--batch-size", 7]]
    if importlib.util.find_spec("onnx") and importlib.util.find_spec("onnxruntime"):
        assert cli.main(["export", str(checkpoint), str(tmp_path / "graphs"), "--format", "onnx"]) == 0
        ways += [["graphs"], ["graphs.step.onnx", "--batch-size", 30]]
    expected = generated(data, checkpoint, "--beam", beam)
    for name, *options in ways:
        done = translate(tmp_path / name, *options, "--beam", beam, "--input", data.parent / "test.src")
        assert done.returncode == 0, done.stderr
        assert len(expected) == 30 and done.stdout.splitlines() == expected


@pytest.mark.parametrize("kind", ["softmax", "summed", "unnormalized"])
def test_under_a_constraint_too(data, checkpoints, translate, tmp_path, kind):
    """The constraint comes from the command line, or from the training that the checkpoint records."""
    checkpoint, asked = checkpoints[kind], ["--successors", "word_order"]
    if kind == "unnormalized":
        start = ["--finetune-from-model", checkpoints["softmax"]]
        options = [*BSO, *CONSTRAINED, "--train-beam", 3, "--max-epoch", 1, *start]
        train(data, tmp_path, *options)
        checkpoint, asked = tmp_path / "checkpoint_last.pt", []
    assert cli.main(["export", str(checkpoint), str(tmp_path / "model")]) == 0
    text = data.parent / "test.src"
    done = translate(tmp_path / "model", "--beam", 4, "--batch-size", 8, "--input", text, *asked)
    assert done.stdout.splitlines() == generated(data, checkpoint, "--beam", 4, *CONSTRAINED), done.stderr
    for source, output in zip(text.read_text().splitlines(), done.stdout.splitlines()):
        assert sorted(source.split()) == sorted(output.split())
    free = translate(tmp_path / "model", "--beam", 4, "--input", text, "--successors", "none")
    assert free.stdout.splitlines() == generated(data, checkpoint, "--beam", 4)


def test_a_shortlist_from_the_data_folder_to_the_translation(data, checkpoints, translate, tmp_path, capsys):
    """`translate --shortlist` equals fairseq-generate over the same words, which are few enough to change outputs."""
    folder = shutil.copytree(data, tmp_path / "data-bin")
    assert cli.main(["shortlist", str(folder), "--per-word", "1", "--common", "1"]) == 0
    said = capsys.readouterr().out
    assert f"{folder}/shortlist.src-tgt: " in said and re.search(r"\nvalid: \d+ words a sentence hold [\d.]+% of", said)
    text, model = data.parent / "test.src", tmp_path / "model"
    onnx = importlib.util.find_spec("onnx") and importlib.util.find_spec("onnxruntime")
    for kind, checkpoint in checkpoints.items():
        exported = ["export", str(checkpoint), str(model), "--data", str(folder), "--shortlist"]
        assert cli.main(exported) == 0
        if onnx:
            exported[2] = str(tmp_path / "graphs")
            assert cli.main([*exported, "--format", "onnx"]) == 0
        for beam in (1, 5):
            short = ["--task", "bso_translation", "--successors", "shortlist"]
            expected = generated(folder, checkpoint, "--beam", beam, *short)
            for options in (["--shortlist"], ["--successors", "shortlist", "--batch-size", 7]):
                for path in [model, tmp_path / "graphs"] if onnx else [model]:
                    done = translate(path, "--beam", beam, "--input", text, *options)
                    assert done.stdout.splitlines() == expected, (kind, path, done.stderr)
    free = translate(model, "--beam", 5, "--input", text).stdout.splitlines()
    assert free == generated(data, checkpoint, "--beam", 5) != expected


def test_beam_search_optimization_over_a_shortlist(data, softmax_checkpoint, tmp_path):
    """No pair is lost, although the words of references are not on the shortlist."""
    common = ["--per-word", "0", "--common", "3", "--output", str(tmp_path / "short")]
    assert cli.main(["shortlist", str(data), *common]) == 0
    options = ["--criterion", "beam_search_optimization", "--train-beam", 3, "--max-epoch", 1]
    short = ["--task", "bso_translation", "--successors", "shortlist", "--shortlist", tmp_path / "short"]
    done = train(data, tmp_path, *options, *short, "--finetune-from-model", softmax_checkpoint)
    log = done.stdout + done.stderr
    assert "left out" not in log and re.search(r"\| train \| epoch 001 \| loss [\d.]+", log), log
    done = train(data, tmp_path, *options, *short[:4], "--restore-file", "none.pt", check=False)
    assert done.returncode == 1 and f"the shortlist {data}/shortlist.src-tgt cannot be read" in done.stderr
    refused = train(data, tmp_path, *options, *short[:2], *short[4:], check=False)
    assert refused.returncode == 1 and "has no effect with --successors none" in refused.stderr


def test_a_shortlist_that_cannot_be_made_is_one_line(data, tmp_path):
    for arguments, message in (
        (["nowhere"], "the data folder nowhere does not exist"),
        ([str(tmp_path)], "is no data folder of fairseq-preprocess"),
        ([str(data), "--per-word", "0", "--common", "0"], "are both 0, so that no word could come out"),
        ([str(data), "--sentences", "0"], "--sentences is 0, but must be at least 1"),
        ([str(data), "--train-subset", "other"], "other in .* cannot be read"),
        ([str(data), "--output", "/dev/null/file"], "/dev/null/file cannot be written"),
    ):
        with pytest.raises(UserError, match=message):
            cli.main(["shortlist", *arguments])


def test_a_subword_model_inside_is_used(translate, tmp_path, softmax_checkpoint, data):
    trainer = pytest.importorskip("sentencepiece").SentencePieceTrainer
    arguments = {"input": str(data.parent / "train.src"), "model_prefix": str(tmp_path / "sp"), "vocab_size": 40}
    trainer.train(**arguments, hard_vocab_limit=False, minloglevel=2)
    assert cli.main(["export", str(softmax_checkpoint), str(tmp_path / "words")]) == 0
    model = model_file.read(tmp_path / "words")
    pieces = [line.split("\t")[0] for line in (tmp_path / "sp.vocab").read_text(encoding="utf-8").splitlines()]
    symbols = ["<s>", "<pad>", "</s>", "<unk>", *pieces[3:]][: model.vocabularies["source"].count(b"\n") + 1]
    vocabularies = dict.fromkeys(["source", "target"], "\n".join(symbols).encode())
    vocabularies["sentencepiece"] = (tmp_path / "sp.model").read_bytes()
    model_file.write(tmp_path / "pieces", model._replace(vocabularies=vocabularies), "float32")
    done = translate(tmp_path / "pieces", "--beam", 2, text="three two\n one\n")
    assert done.returncode == 0 and done.stdout.count("\n") == 2, done.stderr
    assert re.search(r"\w", done.stdout) and "\u2581" not in done.stdout


def test_scores_are_printed_in_every_form(softmax_checkpoint, translate, tmp_path):
    sizes = {}
    for dtype in model_file.DTYPES:
        assert cli.main(["export", str(softmax_checkpoint), str(tmp_path / dtype), "--dtype", dtype]) == 0
        sizes[dtype] = (tmp_path / dtype).stat().st_size
        done = translate(tmp_path / dtype, "--beam", 1, "--print-scores", text="two one\n\nthree\n")
        assert re.fullmatch(r"(-?[\d.]+\t.*\n){3}", done.stdout), done.stderr
    assert sizes["float32"] > sizes["float16"] > sizes["int8"]


def test_the_old_name_of_the_number_format_still_works(softmax_checkpoint, tmp_path, capsys):
    common = ["export", str(softmax_checkpoint)]
    assert cli.main([*common, str(tmp_path / "new"), "--dtype", "int8"]) == 0 and capsys.readouterr().err == ""
    assert cli.main([*common, str(tmp_path / "old"), "--numbers", "int8"]) == 0
    assert capsys.readouterr().err == "--numbers is deprecated: it is called --dtype now\n"
    assert (tmp_path / "old").read_bytes() == (tmp_path / "new").read_bytes()
    with pytest.raises(SystemExit):
        cli.main([*common, str(tmp_path / "none"), "--numbers", "int4"])
    assert "choose from" in capsys.readouterr().err


def test_each_line_is_written_before_the_next_is_read(softmax_checkpoint, tmp_path):
    assert cli.main(["export", str(softmax_checkpoint), str(tmp_path / "model")]) == 0
    line = [sys.executable, "-m", "bso_runtime", "translate", str(tmp_path / "model"), "--beam", "1"]
    pipe = subprocess.PIPE
    with subprocess.Popen(line, stdin=pipe, stdout=pipe, cwd=ROOT, encoding="utf-8") as running:
        for words in ("two one", "three", ""):
            running.stdin.write(words + "\n")
            running.stdin.flush()
            assert running.stdout.readline().endswith("\n")
        assert running.communicate() == ("", None) and running.returncode == 0


def test_bad_files_and_options_end_with_one_line(softmax_checkpoint, translate, tmp_path):
    assert cli.main(["export", str(softmax_checkpoint), str(tmp_path / "model")]) == 0
    (tmp_path / "short").write_bytes((tmp_path / "model").read_bytes()[:-7])
    for name, message in (("short", "damaged"), ("none", "cannot be read")):
        done = translate(tmp_path / name, text="one\n")
        assert done.returncode == 1 and message in done.stderr and done.stderr.count("\n") == 1
    for option, message in (
        (["--successors", "tree"], "--successors tree: unknown successor function: choose from none, word_order"),
        (["--successors", "arc_standard"], "the target dictionary has no reduce label"),
        (["--input", "nothing"], "nothing: No such file or directory"),
        (["--output", "."], ".: Is a directory"),
    ):
        done = translate(tmp_path / "model", *option, text="one\n")
        assert done.returncode == 1 and message in done.stderr and done.stderr.count("\n") == 1
    for option, message in (
        (["--beam", 0], "argument --beam: it is '0', but must be a whole number of at least 1"),
        (["--batch-size", "2.5"], "argument --batch-size: it is '2.5', but must be a whole number of at least 1"),
        (["--max-len-a", "nan"], "argument --max-len-a: it is 'nan', but must be a number of at least 0"),
        (["--lenpen", "inf"], "argument --lenpen: it is 'inf', but must be a number\n"),
    ):
        done = translate(tmp_path / "model", *option, text="one\n")
        assert done.returncode == 2 and message in done.stderr
    model = model_file.read(tmp_path / "model")
    config = replace(model.config, successors="my_own")
    model_file.write(tmp_path / "own", model._replace(config=config), "float32")
    done = translate(tmp_path / "own", text="one\n")
    assert done.returncode == 1 and "was trained with --successors my_own, which is not known here" in done.stderr
    assert translate(tmp_path / "own", "--successors", "none", text="one\n").stdout.count("\n") == 1
    with pytest.raises(UserError, match="names no languages, and .* give --source-lang and --target-lang"):
        cli.main(["export", str(softmax_checkpoint), str(tmp_path / "out"), "--data", str(tmp_path)])
    with pytest.raises(UserError, match="--sentencepiece .* cannot be read"):
        cli.main(["export", str(softmax_checkpoint), str(tmp_path / "out"), "--sentencepiece", str(tmp_path / "no")])
    assert not (tmp_path / "out").exists()


def test_a_line_that_is_not_utf_8_is_named_and_half_an_output_is_not_left(softmax_checkpoint, translate, tmp_path):
    assert cli.main(["export", str(softmax_checkpoint), str(tmp_path / "model")]) == 0
    text, output = tmp_path / "text", tmp_path / "output"
    text.write_bytes(b"two one\nz\xfcrich\n")
    output.write_text("what was there\n")
    done = translate(tmp_path / "model", "--input", text, "--output", output)
    assert done.returncode == 1 and done.stderr.startswith(f"{text}, line 2: byte 0xfc is not UTF-8")
    assert done.stderr.count("\n") == 1 and output.read_text() == "what was there\n"
    assert not list(tmp_path.glob("*.part"))
    text.write_bytes(b"two one\r\nthree\r\n")
    assert translate(tmp_path / "model", "--input", text, "--output", output).returncode == 0
    assert output.read_text() == translate(tmp_path / "model", text="two one\nthree\n").stdout


def test_links_and_pipes_are_written_through(tmp_path):
    (tmp_path / "there").write_text("old")
    (tmp_path / "link").symlink_to("there")
    with model_file.atomic_write(tmp_path / "link", "w") as file:
        file.write("new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "there").read_text() == "new"
    os.mkfifo(tmp_path / "pipe")
    with ThreadPoolExecutor(1) as reader:
        read = reader.submit((tmp_path / "pipe").read_text)
        with model_file.atomic_write(tmp_path / "pipe", "w") as file:
            file.write("through")
        assert read.result() == "through" and (tmp_path / "pipe").is_fifo()


def test_in_a_batch_the_lines_before_a_bad_one_are_translated(softmax_checkpoint, tmp_path):
    assert cli.main(["export", str(softmax_checkpoint), str(tmp_path / "model")]) == 0
    line = [sys.executable, "-m", "bso_runtime", "translate", str(tmp_path / "model"), "--batch-size", "4"]
    done = subprocess.run(line, input=b"two one\nthree\nz\xfcrich\none\n", capture_output=True, cwd=ROOT)
    assert done.returncode == 1 and done.stdout.count(b"\n") == 2 and b"standard input, line 3" in done.stderr


def test_a_reader_that_stops_early_and_a_full_disk(softmax_checkpoint, tmp_path):
    assert cli.main(["export", str(softmax_checkpoint), str(tmp_path / "model")]) == 0
    line = [sys.executable, "-m", "bso_runtime", "translate", str(tmp_path / "model"), "--beam", "1"]
    pipe = subprocess.PIPE
    with subprocess.Popen(line, stdin=pipe, stdout=pipe, stderr=pipe, cwd=ROOT, encoding="utf-8") as running:
        running.stdin.write("two one\n")
        running.stdin.flush()
        running.stdout.readline()
        running.stdout.close()
        running.stdin.write("two one\n")
        running.stdin.close()
        assert running.stderr.read() == "" and running.wait() == 0
    if Path("/dev/full").exists():
        with open("/dev/full", "w") as full:
            done = subprocess.run(line, input=b"two one\n", stdout=full, stderr=pipe, cwd=ROOT)
        assert done.returncode == 1 and done.stderr == b"standard output: No space left on device\n"


def altered(checkpoint, path, name, value):
    """Saves the checkpoint with one weight replaced; returns its path."""
    state = load_state(str(checkpoint))
    state["model"][name].view(-1)[0] = value
    torch.save(state, path)
    return str(path)


def test_weights_that_no_file_can_hold_are_refused(softmax_checkpoint, tmp_path):
    name, out = "decoder.attentional.weight", str(tmp_path / "out")
    diverged = altered(softmax_checkpoint, tmp_path / "nan.pt", name, float("nan"))
    with pytest.raises(UserError, match=f"{name} holds NaN or infinite weights"):
        cli.main(["export", diverged, out])
    with pytest.raises(UserError, match="NaN or infinite weights"):
        cli.main(["prune", diverged, out, "--amount", "0.5"])
    large = altered(softmax_checkpoint, tmp_path / "large.pt", name, 1e5)
    with pytest.raises(UserError, match=f"{name} holds 1e.05, but float16 ends at 65504"):
        cli.main(["export", large, out, "--dtype", "float16"])
    assert not Path(out).exists()
    assert cli.main(["export", large, out, "--dtype", "int8"]) == 0


def test_a_subword_model_is_looked_at_before_it_is_put_into_the_file(data, softmax_checkpoint, tmp_path):
    trainer = pytest.importorskip("sentencepiece").SentencePieceTrainer
    text, out = tmp_path / "other", tmp_path / "out"
    text.write_text("ganz andere Wörter stehen hier in dieser Zeile\n" * 9)
    words = [line.split()[0] for line in (data / "dict.src.txt").read_text().splitlines() if line[0].isalpha()]
    for name, known in (("other-pieces", []), ("pieces", words)):
        options = {"vocab_size": 60, "hard_vocab_limit": False, "minloglevel": 2, "user_defined_symbols": known}
        trainer.train(input=str(text), model_prefix=str(tmp_path / name), **options)
    (tmp_path / "empty").touch()
    exported = ["export", str(softmax_checkpoint), str(out), "--sentencepiece"]
    for name, message in (
        (text.name, "is no subword model of"),
        ("empty", "is no subword model of"),
        ("other-pieces.model", "give the model that split"),
    ):
        with pytest.raises(UserError, match=message):
            cli.main([*exported, str(tmp_path / name)])
    assert not out.exists()
    assert cli.main([*exported, str(tmp_path / "pieces.model")]) == 0
    assert model_file.read(out).vocabularies["sentencepiece"] == (tmp_path / "pieces.model").read_bytes()


def test_dictionaries_of_another_name(data, softmax_checkpoint, tmp_path):
    for side in ("src", "tgt"):
        shutil.copy(data / f"dict.{side}.txt", tmp_path / f"dict.{side}-2.txt")
    folder, out = ["--data", str(tmp_path)], str(tmp_path / "out")
    with pytest.raises(UserError, match="or the language with --target-lang"):
        cli.main(["export", str(softmax_checkpoint), out, *folder, "--source-lang", "src-2"])
    names = ["--source-lang", "src-2", "--target-lang", "tgt-2"]
    assert cli.main(["export", str(softmax_checkpoint), out, *folder, *names]) == 0


def test_onnx_files_are_written_with_their_metadata(softmax_checkpoint, tmp_path, capsys):
    onnx = pytest.importorskip("onnx")
    model = str(tmp_path / "out" / "model")
    assert cli.main(["export", str(softmax_checkpoint), model, "--format", "onnx"]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["model.encoder.onnx", "model.step.onnx"]
    metadata = {prop.key: prop.value for prop in onnx.load(model + ".step.onnx").metadata_props}
    assert '"scorer": "softmax"' in metadata["facts"] and metadata["target"].startswith("<s>\n<pad>\n</s>\n<unk>")
    with pytest.raises(UserError, match="--dtype float16 is for --format compact: choose float32 or int8"):
        cli.main(["export", str(softmax_checkpoint), model, "--format", "onnx", "--dtype", "float16"])
