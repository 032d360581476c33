"""fairseq's own commands with the plugin, from text to hypotheses."""

import math
import re

import pytest
import torch
from fairseq import checkpoint_utils
from reference import lstm
from system_commands import (
    BSO,
    PLUGIN,
    QUIET,
    difference,
    last_line,
    parameters,
    preprocess,
    run,
    train,
    train_with_two_workers,
)

import fairseq_bso  # noqa: F401  (--user-dir also imports it before a checkpoint is read)

SOFTMAX = ["--criterion", "beam_search_optimization"]  # the model has the default scorer
SUMMED = [*SOFTMAX, "--scorer", "summed"]


def test_a_bso_run_logs_the_search_and_grows_its_beam(bso_run):
    _, log = bso_run
    for name in ("margin_loss", "violations_per_token", "segment_length", "gold_gap", "beam", "bleu"):
        assert f"{name} " in log or f"{name}=" in log, name
    assert re.search(r"valid .*\| beam 3 ", log), "validation searches with the full beam"
    beams = [float(beam) for beam in re.findall(r"train_inner.*? beam=([\d.]+)", log)]
    assert beams[0] == 2 and beams[-1] == 3 and beams == sorted(beams)


@pytest.mark.parametrize("beam", [1, 5])
@pytest.mark.parametrize("kind", ["summed", "unnormalized"])
def test_scores_of_stock_generate_are_the_sum_of_f_or_the_last(data, checkpoints, kind, beam):
    checkpoint = checkpoints[kind]
    common = ["--user-dir", PLUGIN, "--path", checkpoint, "--cpu", "--unnormalized", "--nbest", beam, "--beam", beam]
    output = run("generate", data, *common, "--required-batch-size-multiple", 1, "--max-len-b", 12).stdout
    (model,), _, task = checkpoint_utils.load_model_ensemble_and_task([str(checkpoint)])
    model.double().eval()
    sources = dict(re.findall(r"^S-(\d+)\t(.*)$", output, re.M))
    hypotheses = re.findall(r"^H-(\d+)\t(\S+)\t(.*)\nD-.*\nP-\d+\t(.*)$", output, re.M)
    assert len(sources) == 30 and len(hypotheses) == 30 * beam
    whole = [one for one in hypotheses if len(one[2].split()) + 1 == len(one[3].split())]
    assert len(whole) >= 27 * beam  # fairseq does not print the word <s>
    for sentence, score, text, _ in whole:
        source = task.source_dictionary.encode_line(sources[sentence], add_if_not_exist=False).tolist()
        words = task.target_dictionary.encode_line(text, add_if_not_exist=False).tolist()
        with torch.no_grad():
            each = [lstm.scores_after(model, source, words[:time])[word].item() for time, word in enumerate(words)]
        expected = sum(each) if kind == "summed" else each[-1]
        assert float(score) * math.log(2) == pytest.approx(expected, abs=2e-4)  # the output has 4 decimals


@pytest.mark.parametrize("kind", ["summed", "unnormalized"])
def test_generate_with_our_task_needs_no_flag_and_averages_an_ensemble(data, checkpoints, kind):
    checkpoint = checkpoints[kind]
    common = ["--user-dir", PLUGIN, "--cpu", "--beam", 3, "--required-batch-size-multiple", 1]
    stock = run("generate", data, *common, "--path", checkpoint, "--unnormalized").stdout
    ours = run("generate", data, *common, "--path", checkpoint, "--task", "bso_translation").stdout
    twice = run("generate", data, *common, "--path", f"{checkpoint}:{checkpoint}", "--task", "bso_translation").stdout
    found = [re.findall(r"^H-(\d+)\t(\S+)\t(.*)$", output, re.M) for output in (stock, ours, twice)]
    assert len(found[0]) == 30
    assert found[0] == found[1]
    assert [(sentence, text) for sentence, _, text in found[2]] == [(sentence, text) for sentence, _, text in found[0]]
    for (_, one, _), (_, both, _) in zip(found[0], found[2]):
        assert float(one) == pytest.approx(float(both), abs=2e-4)


def test_any_checkpoint_is_decoded_by_another_scorer(data, checkpoints):
    """All scorers have the same parameters. fairseq's own task reads the scorer from --model-overrides."""
    common = ["--user-dir", PLUGIN, "--cpu", "--beam", 3, "--unnormalized"]
    over = ["--path", checkpoints["softmax"], "--model-overrides", "{'scorer': 'summed'}"]
    outputs = [run("generate", data, *common, *way).stdout for way in (over, ["--path", checkpoints["summed"]])]
    found = [re.findall(r"^H-.*$", output, re.M) for output in outputs]
    assert len(found[0]) == 30 and found[0] == found[1]


def test_an_ensemble_of_several_kinds_is_refused(data, checkpoints):
    paths = ":".join(str(checkpoints[kind]) for kind in ("unnormalized", "softmax", "summed", "softmax"))
    common = ["--user-dir", PLUGIN, "--cpu", "--task", "bso_translation", "--path", paths]
    done = run("generate", data, *common, check=False)
    counted = "an ensemble of 1 unnormalized, 2 softmax and 1 summed models has no common score"
    assert last_line(done).startswith(counted)


def test_sums_of_log_probabilities_that_are_not_divided_are_warned_of(data, softmax_checkpoint):
    common = ["--user-dir", PLUGIN, "--cpu", "--task", "bso_translation", "--path", softmax_checkpoint]
    quiet, done = (run("generate", data, *common, *flag) for flag in ([], ["--unnormalized"]))
    for one, times in ((quiet, 0), (done, 1)):
        assert len(re.findall("favours short hypotheses: leave out --unnormalized", one.stderr + one.stdout)) == times


@pytest.mark.parametrize(
    "option, message",
    [
        (["--temperature", 0.5], "--temperature is 0.5"),
        (["--sampling", "--sampling-topp", 0.9, "--nbest", 5], "are not probabilities"),
        (["--match-source-len"], "--match-source-len sets"),
        (["--lenpen", 0.6], "--lenpen is 0.6, but the raw scores of --scorer"),
    ],
)
@pytest.mark.parametrize("kind", ["summed", "unnormalized"])
def test_options_that_need_probabilities_are_refused(data, checkpoints, option, message, kind):
    common = ["--user-dir", PLUGIN, "--cpu", "--task", "bso_translation", "--path", checkpoints[kind]]
    done = run("generate", data, *common, *option, check=False)
    assert message in last_line(done)


@pytest.mark.parametrize("kind", ["summed", "unnormalized"])
def test_interactive_and_score_reference(data, checkpoints, kind):
    common = ["--user-dir", PLUGIN, "--cpu", "--unnormalized", "--path", checkpoints[kind], "--beam", 3]
    done = run("interactive", data, *common, text="two one three\n")
    assert re.search(r"^H-0\t\S+\t.*(one|two|three)", done.stdout, re.M)
    common = ["--user-dir", PLUGIN, "--path", checkpoints[kind], "--cpu", "--score-reference", "--unnormalized"]
    forced = run("generate", data, *common, "--task", "bso_translation", "--nbest", 1).stdout
    scores = re.findall(r"^H-\d+\t(\S+)\t.*\nD-.*\nP-\d+\t(.*)$", forced, re.M)
    assert len(scores) == 30
    for score, positional in scores:
        assert float(score) == pytest.approx(sum(map(float, positional.split())), abs=2e-3)


@pytest.mark.parametrize("bso, update", [(BSO, 5), (SUMMED, 7), ([*SOFTMAX, "--finished", "rival"], 9)])
def test_a_resumed_run_equals_one_that_never_stopped(data, softmax_checkpoint, tmp_path, bso, update):
    """The beam grows every 4 updates. `--save-interval-updates` saves within an epoch of 13 updates."""
    options = [*bso, "--train-beam", 5, "--updates-per-beam", 4, "--max-update", 16, "--save-interval-updates", 1]
    options += ["--lr-scheduler", "inverse_sqrt", "--warmup-updates", 4, "--dropout", 0.2, "--disable-validation"]
    whole, resumed = tmp_path / "whole", tmp_path / "resumed"
    first = train(data, whole, *options, "--finetune-from-model", softmax_checkpoint)
    (middle,) = whole.glob(f"checkpoint_*_{update}.pt")
    second = train(data, resumed, *options, "--restore-file", middle)
    for run_of in (first, second):  # once in the whole run
        assert len(re.findall("the search looks at .* words a sentence", run_of.stderr + run_of.stdout)) == 1
    assert difference(whole / "checkpoint_last.pt", resumed / "checkpoint_last.pt") == 0
    assert difference(whole / "checkpoint_last.pt", middle) > 0


@pytest.mark.parametrize("criterion", [["--criterion", "cross_entropy"], [*SOFTMAX, "--train-beam", 3]])
def test_bfloat16_trains_resumes_and_decodes_without_a_tpu(data, softmax_checkpoint, tmp_path, criterion):
    options = [*criterion, "--bf16", "--task", "bso_translation", "--max-update", 8, "--save-interval-updates", 4]
    done = train(data, tmp_path, *options, "--disable-validation", "--finetune-from-model", softmax_checkpoint)
    losses = [float(found) for found in re.findall(r" loss=([^,]+),", done.stderr + done.stdout)]
    assert len(losses) == 8 and all(math.isfinite(loss) for loss in losses)
    last = tmp_path / "checkpoint_last.pt"
    # fairseq saves 16-bit numbers in 32 bits.
    assert all(tensor.equal(tensor.bfloat16().float()) for tensor in parameters(last).values())
    assert difference(softmax_checkpoint, last) > 0
    (middle,) = tmp_path.glob("checkpoint_*_4.pt")
    train(data, tmp_path / "resumed", *options, "--disable-validation", "--restore-file", middle)
    # fairseq rounds the 32-bit master weights to 16 bits when it saves them, so a resumed run differs slightly.
    assert difference(last, tmp_path / "resumed" / "checkpoint_last.pt") < 0.02
    common = ["--user-dir", PLUGIN, "--cpu", "--task", "bso_translation", "--path", last]
    assert len(re.findall(r"^H-", run("generate", data, *common, "--beam", 3).stdout, re.M)) == 30


@pytest.mark.parametrize("bso", [BSO, SOFTMAX])
def test_two_workers_equal_one_with_twice_the_batches(data, softmax_checkpoint, tmp_path, bso):
    options = [*bso, "--finetune-from-model", softmax_checkpoint, "--train-beam", 4, "--max-update", 5]
    options += ["--disable-validation", "--clip-norm", 1.0, "--batch-size", 8]
    train(data, tmp_path / "one", *options, "--update-freq", 2)
    train_with_two_workers(data, tmp_path / "two", tmp_path / "meeting", *options)
    assert difference(tmp_path / "one" / "checkpoint_last.pt", tmp_path / "two" / "checkpoint_last.pt") < 1e-5


def test_validate_command_reports_the_search(data, bso_run):
    done = run(
        "validate",
        data,
        "--user-dir",
        PLUGIN,
        "--task",
        "translation",
        "--path",
        bso_run[0],
        "--cpu",
        "--batch-size",
        8,
    )
    assert re.search(r"violations_per_token [\d.]+", done.stdout + done.stderr)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([*BSO, "--train-beam", 1], "the train beam is 1, but must be at least 2"),
        ([*BSO, "--margin", 0], "--margin is 0.0, but must be above 0"),
        ([*BSO, "--margin", "nan"], "--margin is nan, but must be above 0, and finite"),
        ([*BSO, "--search-words", -1], "--search-words is -1, but must be at least 0"),
        ([*BSO, "--finished", "rival"], "take --scorer softmax or summed, or leave out --finished"),
        ([*BSO, "--initial-beam", 9, "--updates-per-beam", 5], "the initial beam is 9, but must be from 2 to"),
        ([*BSO, "--delta", "meteor"], "meteor"),
        ([*BSO, "--nll-weight", -1], "--nll-weight is -1.0, but must be at least 0"),
        (["--scorer", "summed", "--criterion", "cross_entropy"], "self_normalized_cross_entropy or beam_search_"),
        ([*SUMMED, "--finished", "rival", "--finished-lenpen", 0.5], "are never divided by length: leave out --fin"),
        ([*BSO, "--encoder-layers", 2], "--encoder-layers 2 and --decoder-layers 1 differ"),
        ([*BSO, "--decoder-embed-path", "nowhere.txt"], "nowhere.txt does not exist"),
    ],
)
def test_bad_options_end_with_one_line(data, tmp_path, arguments, message):
    done = train(data, tmp_path / "run", *arguments, "--max-update", 2, check=False)
    assert message in last_line(done)
    assert not list(tmp_path.glob("run/*.pt"))


def test_another_model_is_refused(data, tmp_path):
    options = [*SOFTMAX, "--arch", "nonautoregressive_transformer", "--task", "translation_lev", "--lr", 0.1]
    options += ["--optimizer", "sgd"]
    line = ["--batch-size", 8, "--save-dir", tmp_path, "--max-update", 2]
    done = run("train", data, "--user-dir", PLUGIN, *QUIET, *options, *line, check=False)
    assert "cannot train NATransformerModel, because it lacks a left-to-right decoder" in last_line(done)


def test_a_checkpoint_of_other_dictionaries_is_refused(data, softmax_checkpoint, tmp_path):
    other = preprocess(tmp_path, "--nwordssrc", "5", "--nwordstgt", "5", train=200, valid=30)
    options = [*BSO, "--finetune-from-model", softmax_checkpoint, "--max-update", 2]
    done = train(other, tmp_path / "run", *options, check=False)
    assert "dictionary has" in last_line(done) and "--srcdict" in last_line(done)


def test_an_empty_target_is_named(tmp_path):
    folder = tmp_path / "text"
    folder.mkdir()
    (folder / "train.src").write_text("one two\nthree four\n")
    (folder / "train.tgt").write_text("one two\n\n")
    languages = [
        "--source-lang",
        "src",
        "--target-lang",
        "tgt",
        "--destdir",
        folder / "data-bin",
        "--joined-dictionary",
    ]
    run("preprocess", *languages, "--trainpref", folder / "train", "--validpref", folder / "train")
    done = train(folder / "data-bin", tmp_path / "run", *BSO, "--max-update", 2, check=False)
    assert "the target of sentence 1 (counted from 0) is empty" in last_line(done)


def test_a_target_beyond_the_longest_position_is_named_by_fairseq(data, tmp_path):
    done = train(data, tmp_path, *BSO, "--max-target-positions", 3, "--max-update", 2, check=False)
    assert done.returncode != 0
    assert "--skip-invalid-size-inputs-valid-test" in done.stderr + done.stdout


def test_a_missing_checkpoint_or_data_folder_is_named(data, tmp_path):
    done = train(data, tmp_path, *BSO, "--finetune-from-model", tmp_path / "none.pt", "--max-update", 2, check=False)
    assert done.returncode != 0 and "none.pt does not exist" in done.stderr
    done = train(tmp_path / "nowhere", tmp_path, *BSO, "--max-update", 2, check=False)
    assert done.returncode != 0 and "nowhere" in done.stderr
    assert not list(tmp_path.glob("*.pt"))
