"""Exported models reproduce fairseq-generate's output without fairseq and torch; what `export` writes and refuses."""

import importlib.util
import re
import shutil
from pathlib import Path

import pytest
import torch
from system_commands import BSO, generated, train

from bso_runtime import model_file
from fairseq_bso import cli
from fairseq_bso.checkpoints import load_state
from fairseq_bso.errors import UserError

CONSTRAINED = ["--task", "bso_translation", "--successors", "word_order"]


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
    assert capsys.readouterr().err == "warning: --numbers is deprecated: use --dtype int8\n"
    assert (tmp_path / "old").read_bytes() == (tmp_path / "new").read_bytes()
    with pytest.raises(SystemExit):
        cli.main([*common, str(tmp_path / "none"), "--numbers", "int4"])
    assert "choose from" in capsys.readouterr().err


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
