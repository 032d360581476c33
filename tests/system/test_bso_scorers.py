"""BSO of every ``--scorer``, from a suitable pretrained model to the hypotheses."""

import re

import pytest
from system_commands import PLUGIN, run, train

BSO = ["--criterion", "beam_search_optimization", "--train-beam", 3]


def hypotheses(data, checkpoint, *flags):
    """The hypotheses that fairseq-generate prints with fairseq's own task: [(sentence, score, words)]."""
    common = ["--user-dir", PLUGIN, "--cpu", "--path", checkpoint, "--beam", 3, "--max-len-b", 12]
    return re.findall(r"^H-(\d+)\t(\S+)\t(.*)$", run("generate", data, *common, *flags).stdout, re.M)


def logged(done, part, name):
    """The values of one name in the ``train`` or ``valid`` lines of a run's log, one for each epoch."""
    return [float(value) for value in re.findall(rf"\| {part} \|.* {name} (\S+)", done.stderr + done.stdout)]


def test_a_model_without_any_flag_trains_and_decodes(data, softmax_checkpoint, tmp_path):
    options = [*BSO, "--margin", 5, "--finetune-from-model", softmax_checkpoint, "--max-epoch", 2, "--lr", 0.003]
    done = train(data, tmp_path, *options)
    losses = logged(done, "train", "margin_loss")
    assert len(losses) == 2 and 0 < losses[1] < losses[0]
    lines = re.findall(r"the search looks at (\d+) words a sentence \(--search-words 16\)", done.stderr + done.stdout)
    assert len(lines) == 1 and int(lines[0]) <= 15  # one line in two epochs; 16 words without padding
    before, after = (hypotheses(data, path) for path in (softmax_checkpoint, tmp_path / "checkpoint_last.pt"))
    assert len(after) == 30 and after != before
    assert all(float(score) < 0 for _, score, _ in after)  # log-probabilities


def test_a_summed_model_is_prepared_trained_and_decoded(data, softmax_checkpoint, tmp_path):
    prepare = ["--criterion", "self_normalized_cross_entropy", "--self-normalize", 0.1, "--scorer", "summed"]
    first = tmp_path / "prepared"
    done = train(data, first, *prepare, "--finetune-from-model", softmax_checkpoint, "--max-epoch", 2)
    log_z = logged(done, "train", "log_z")
    assert len(log_z) == 2 and log_z[1] < log_z[0]
    options = [*BSO, "--scorer", "summed", "--finetune-from-model", first / "checkpoint_last.pt", "--max-epoch", 2]
    done = train(data, tmp_path, *options, "--lr", 0.003)
    losses = logged(done, "train", "margin_loss")
    assert len(losses) == 2 and 0 < losses[1] < losses[0]
    assert len(hypotheses(data, tmp_path / "checkpoint_last.pt", "--unnormalized")) == 30


def test_finished_rivals_and_several_batches_an_update(data, softmax_checkpoint, tmp_path):
    """Other rules for rivals give other violations."""
    options = [*BSO, "--margin", 4, "--update-freq", 2, "--finetune-from-model", softmax_checkpoint, "--max-update", 4]
    losses = []
    for finished in (["dropped"], ["rival"], ["rival", "--finished-lenpen", 0]):
        folder = tmp_path / "_".join(map(str, finished))
        done = train(data, folder, *options, "--finished", *finished, "--disable-validation")
        losses += logged(done, "train", "margin_loss")
    assert len(set(losses)) == 3


@pytest.mark.parametrize("command", ["generate", "interactive"])
def test_raw_scores_that_would_be_divided_by_length_are_refused(data, summed_checkpoint, command):
    common = ["--user-dir", PLUGIN, "--cpu", "--path", summed_checkpoint]
    done = run(command, data, *common, check=False, text="two one\n")
    assert done.returncode == 1 and "Traceback" not in done.stderr + done.stdout, done.stderr
    said = done.stderr.strip().splitlines()[-1]
    assert said == (
        "--task translation divides scores by length, but raw scores of --scorer summed must not be divided: add "
        "--unnormalized, or use --task bso_translation"
    )


def test_length_ratios_of_validation_are_those_of_generate(data, softmax_checkpoint, tmp_path):
    options = [*BSO, "--task", "bso_translation", "--eval-length-beams", "1,4", "--finetune-from-model"]
    done = train(data, tmp_path, *options, softmax_checkpoint, "--max-update", 1)
    common = ["--user-dir", PLUGIN, "--cpu", "--gen-subset", "valid", "--path", tmp_path / "checkpoint_last.pt"]
    for beam in (1, 4):
        printed = run("generate", data, *common, "--beam", beam).stdout
        references = [len(text.split()) for text in re.findall(r"^T-\d+\t(.*)$", printed, re.M)]
        # The scores include those of </s>, and of <s>, which fairseq does not print.
        words = [len(scores.split()) - 1 for scores in re.findall(r"^P-\d+\t(.*)$", printed, re.M)]
        assert len(words) == len(references) == 30
        (ratio,) = logged(done, "valid", f"length_ratio_beam{beam}")
        assert ratio == pytest.approx(sum(words) / sum(references), abs=1e-3)  # the log has 4 digits
