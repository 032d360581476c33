"""Distillation by the real commands: word level, sequence level, both together, and errors in one line."""

import re
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from fairseq import checkpoint_utils
from system_commands import (
    BSO,
    PLUGIN,
    ROOT,
    call,
    last_line,
    parameters,
    preprocess,
    run,
    train,
    train_with_two_workers,
)

from fairseq_bso import cli
from fairseq_bso.distill.options import WordDistillationConfig
from fairseq_bso.distill.tasks import WordDistillationTask
from fairseq_bso.distill.teacher import load_teacher
from fairseq_bso.errors import UserError

WORD = ["--task", "word_distillation", "--criterion", "word_distillation"]
SEQUENCE = ["--task", "sequence_distillation", "--criterion", "cross_entropy"]


def same(one, other):
    """Whether two checkpoints hold bitwise equal parameters."""
    one, other = parameters(one), parameters(other)
    return one.keys() == other.keys() and all(one[name].equal(other[name]) for name in one)


def distill_command(data, teacher, cache, *arguments):
    """The command line of `fairseq-bso distill` for this interpreter."""
    code = "import sys; from fairseq_bso.cli import main; sys.exit(main())"
    line = [sys.executable, "-c", code, "distill", data, "--teacher-path", teacher, "--distill-cache", cache, "--cpu"]
    return [*map(str, line), *map(str, arguments)]


def distill(data, teacher, cache, *arguments, check=True):
    """Runs `fairseq-bso distill`."""
    common = ["--teacher-path", teacher, "--distill-cache", cache, "--cpu"]
    done = call("fairseq_bso.cli:main", "distill", data, *common, *arguments)
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def contents(cache):
    """All files of a finished cache."""
    return {path.name: path.read_bytes() for path in Path(cache).iterdir()}


SLOW = ["--distill-max-tokens", 20]  # one or two sentences in a batch, and therefore many parts


@pytest.fixture(scope="session")
def cache(data, softmax_checkpoint, tmp_path_factory):
    """A cache that one worker wrote without interruption."""
    folder = tmp_path_factory.mktemp("distilled") / "cache"
    distill(data, softmax_checkpoint, folder, *SLOW)
    return folder


def test_word_distillation_logs_both_losses_and_saves_the_student_alone(data, softmax_checkpoint, tmp_path):
    teacher = ["--teacher-path", f"{softmax_checkpoint}:{softmax_checkpoint}", "--teacher-top-k", 5]
    done = train(data, tmp_path, *WORD, *teacher, "--distill-temperature", 2, "--max-update", 4)
    log = done.stderr + done.stdout
    for name in ("nll_loss", "distill_loss", "teacher_entropy", "agreement", "ppl"):
        assert re.search(rf"train_inner.*{name}=", log) and re.search(rf"valid .*{name} ", log), name
    (alone,) = re.findall(r"num\. shared model params: ([\d,]+)", log)
    saved = checkpoint_utils.load_checkpoint_to_cpu(str(tmp_path / "checkpoint_last.pt"))
    assert sum(part.numel() for part in saved["model"].values()) == int(alone.replace(",", ""))
    assert not saved["criterion"]
    assert len(saved["last_optimizer_state"]["state"]) == len(saved["model"])
    # The student is decoded without a teacher, under its own task and another.
    for task in ("word_distillation", "translation"):
        common = ["--user-dir", PLUGIN, "--cpu", "--task", task, "--path", tmp_path / "checkpoint_last.pt"]
        assert "Generate test" in run("generate", data, *common).stdout


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_weight_0_is_plain_training_to_the_bit(data, softmax_checkpoint, tmp_path, smoothing):
    common = ["--max-update", 5, "--disable-validation", "--label-smoothing", smoothing]
    kind = "label_smoothed_cross_entropy" if smoothing else "cross_entropy"
    plain = ["--criterion", f"blockwise_{kind}"]
    ours = [*WORD, "--teacher-path", softmax_checkpoint, "--distill-weight", 0]
    train(data, tmp_path / "plain", *plain, *common[: None if smoothing else 3])
    train(data, tmp_path / "ours", *ours, *common)
    assert same(tmp_path / "plain" / "checkpoint_last.pt", tmp_path / "ours" / "checkpoint_last.pt")


def test_a_remembered_teacher_trains_the_same_student(data, softmax_checkpoint, tmp_path):
    options = [*WORD, "--teacher-path", softmax_checkpoint, "--teacher-top-k", 5, "--max-epoch", 3]
    train(data, tmp_path / "again", *options)
    train(data, tmp_path / "remembers", *options, "--teacher-memory")
    one, other = (parameters(tmp_path / name / "checkpoint_last.pt") for name in ("again", "remembers"))
    for name in one:  # the teacher computes a repeated sentence in one of its batches only
        torch.testing.assert_close(one[name], other[name], rtol=1e-4, atol=1e-6)


def test_any_encoder_decoder_of_fairseq_can_teach(data, tmp_path):
    sizes = "--encoder-embed-dim 8 --decoder-embed-dim 8 --encoder-ffn-embed-dim 8 --decoder-ffn-embed-dim 8"
    options = ["--arch", "transformer", *sizes.split(), "--encoder-layers", 1, "--decoder-layers", 1]
    options += ["--encoder-attention-heads", 2, "--decoder-attention-heads", 2, "--criterion", "cross_entropy"]
    # fairseq uses the later --arch.
    train(data, tmp_path / "teacher", *options, "--max-update", 2, "--disable-validation")
    teacher = ["--teacher-path", tmp_path / "teacher" / "checkpoint_last.pt"]
    sequence = ["--task", "sequence_distillation", "--distill-cache", tmp_path / "cache", "--distill-max-len-b", 1]
    teacher += ["--teacher-dtype", "bfloat16"]
    done = train(data, tmp_path / "student", *WORD, *sequence, *teacher, "--max-update", 2)
    assert "distill_loss" in done.stderr + done.stdout


def test_two_workers_make_the_same_cache_as_one(data, softmax_checkpoint, cache, tmp_path):
    distill(data, softmax_checkpoint, tmp_path / "two", *SLOW, "--workers", 2)
    assert contents(tmp_path / "two") == contents(cache)


def test_a_killed_job_goes_on_and_ends_the_same(data, softmax_checkpoint, cache, tmp_path):
    folder = tmp_path / "killed"
    line = distill_command(data, softmax_checkpoint, folder, *SLOW)
    job = subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=ROOT)
    limit = time.monotonic() + 60
    while len(list(folder.glob("parts/*.npz"))) < 3 and job.poll() is None and time.monotonic() < limit:
        time.sleep(0.002)
    job.send_signal(signal.SIGKILL)
    job.wait()
    left = len(list(folder.glob("parts/*.npz")))
    assert left >= 3 and not list(folder.glob("*.idx"))
    done = distill(data, softmax_checkpoint, folder, *SLOW, "--workers", 2)
    assert "of them decoded before" in done.stderr
    assert contents(folder) == contents(cache)


def test_training_makes_the_cache_with_two_workers_and_reads_it_again(data, softmax_checkpoint, cache, tmp_path):
    options = [*SEQUENCE, "--teacher-path", softmax_checkpoint, "--distill-cache", tmp_path / "cache", *SLOW]
    options += ["--max-update", 3, "--disable-validation", "--batch-size", 8]
    train_with_two_workers(data, tmp_path / "two", tmp_path / "meeting", *options)
    assert contents(tmp_path / "cache") == contents(cache)
    # BSO on distilled and original pairs reads the cache, so the teacher does not decode again.
    more = ["--finetune-from-model", tmp_path / "two" / "checkpoint_last.pt", "--distill-keep-original"]
    done = train(data, tmp_path / "bso", *options, *more, *BSO)
    log = done.stderr + done.stdout
    assert "distilling" not in log and "violations_per_token" in log
    assert "training on the distilled pairs" in log


def refusal(data, teacher, cache, *arguments):
    """The message with which `fairseq-bso distill` refuses these arguments, in this process."""
    line = ["distill", data, "--teacher-path", teacher, "--distill-cache", cache, "--cpu", *arguments]
    with pytest.raises(UserError) as stopped:
        cli.main([*map(str, line)])
    return str(stopped.value)


@pytest.mark.parametrize(
    "option, was",
    [
        (["--distill-beam", 4], "--distill-beam was 5, is now 4"),
        (["--distill-mode", "seq_inter"], "--distill-mode was seq_kd, is now seq_inter"),
        (["--distill-beam", -1], "--distill-beam is -1"),
        (["--distill-nbest", 6], "--distill-nbest is 6, but must be from 1 to the beam, 5"),
        (["--distill-max-ratio", 0.5], "--distill-max-ratio is 0.5"),
        (["--distill-max-tokens", 0], "--distill-max-tokens is 0"),
        (["--distill-mode", "seq_inter", "--distill-remove-bpe", "syllables"], "was seq_kd, is now seq_inter"),
    ],
)
def test_other_or_senseless_options_are_refused(data, softmax_checkpoint, cache, option, was):
    before = contents(cache)
    assert was in refusal(data, softmax_checkpoint, cache, *option)
    assert contents(cache) == before


def test_another_teacher_other_data_or_a_damaged_cache_is_refused(data, softmax_checkpoint, cache, tmp_path):
    assert "the teacher's checkpoint was" in refusal(data, softmax_checkpoint.parent / "checkpoint1.pt", cache)
    shutil.copytree(data, tmp_path / "data")
    shutil.copyfile(data / "valid.src-tgt.tgt.bin", tmp_path / "data" / "train.src-tgt.tgt.bin")
    assert "the training data was" in refusal(tmp_path / "data", softmax_checkpoint, cache)
    copy = tmp_path / "copy"
    shutil.copytree(cache, copy)
    (target,) = copy.glob("*.tgt.bin")
    target.write_bytes(target.read_bytes()[:-3])
    assert f"the distilled data is damaged: {target}" in refusal(data, softmax_checkpoint, copy)
    options = [*SEQUENCE, "--teacher-path", softmax_checkpoint, "--distill-cache", copy, "--max-update", 2]
    done = train(data, tmp_path / "run", *options, check=False)
    assert f"the distilled data is damaged: {target}" in last_line(done)
    (copy / "manifest.json").write_text('{"version": 1')
    assert "manifest.json is damaged" in refusal(data, softmax_checkpoint, copy)
    assert "holds a data set that was not distilled" in refusal(data, softmax_checkpoint, data)


def test_a_full_disk_is_one_line_and_what_is_done_is_kept(data, softmax_checkpoint, cache, tmp_path):
    """A limit on file sizes imitates a full disk: parts fit, the dataset's index does not."""
    folder = tmp_path / "full"

    def limit():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2048, 2048))

    line = distill_command(data, softmax_checkpoint, folder, *SLOW)
    done = subprocess.run(line, capture_output=True, text=True, cwd=ROOT, preexec_fn=limit)
    assert f"the distilled data cannot be written to {folder}" in last_line(done)
    assert len(list(folder.glob("parts/*.npz"))) > 10 and not list(folder.glob("parts/*.partial"))
    distill(data, softmax_checkpoint, folder, *SLOW)
    assert contents(folder) == contents(cache)


def student(data, **options):
    """The task of a student."""
    return WordDistillationTask.setup_task(WordDistillationConfig(data=str(data), **options))


def test_a_teacher_of_other_dictionaries_or_languages_is_refused(data, softmax_checkpoint, tmp_path):
    other = preprocess(tmp_path, "--nwordssrc", "13", "--nwordstgt", "13", train=200, valid=30)
    with pytest.raises(UserError, match=r"the source dictionaries .* differ, first at symbol \d+: the teacher has '"):
        load_teacher(str(softmax_checkpoint), None, student(other))
    with pytest.raises(UserError, match="translates src to tgt, the student tgt to src"):
        load_teacher(str(softmax_checkpoint), None, student(data, source_lang="tgt", target_lang="src"))
    with pytest.raises(UserError, match="dictionaries in .*nowhere.* cannot be loaded .*: correct --teacher-data"):
        load_teacher(str(softmax_checkpoint), str(tmp_path / "nowhere"), student(data))


def test_an_empty_training_set_is_named(data, softmax_checkpoint, tmp_path):
    shutil.copytree(data, tmp_path / "data")
    (tmp_path / "data" / "train.src-tgt.src.bin").write_bytes(b"")
    assert "is empty: train.src-tgt.src.bin" in refusal(tmp_path / "data", softmax_checkpoint, tmp_path / "cache")
    done = train(tmp_path / "data", tmp_path, *WORD, "--teacher-path", softmax_checkpoint, check=False)
    assert "is empty: train.src-tgt.src.bin" in last_line(done)


def test_a_teachers_file_that_is_broken_or_missing_is_named(data, softmax_checkpoint, tmp_path):
    broken = tmp_path / "broken.pt"
    broken.write_bytes(Path(softmax_checkpoint).read_bytes()[:1000])
    for path, message in ((broken, "broken.pt cannot be read"), (tmp_path / "none.pt", "none.pt does not exist")):
        with pytest.raises(UserError, match=message):
            load_teacher(str(path), None, student(data))


@pytest.mark.parametrize("kind", ["summed", "unnormalized"])
def test_a_teacher_of_raw_scores_teaches_by_its_output_alone(data, checkpoints, tmp_path, kind):
    """Such a teacher has no probabilities for word-level distillation."""
    teacher = checkpoints[kind]
    done = train(data, tmp_path / "run", *WORD, "--teacher-path", teacher, "--max-update", 2, check=False)
    assert f"has --scorer {kind} and no probabilities" in last_line(done)
    assert not list(tmp_path.glob("run/*.pt"))
    cache, short = tmp_path / "cache", ["--distill-mode", "seq_inter", "--distill-beam", 3, "--distill-max-len-b", 3]
    message = f"--distill-lenpen is 0.6, but the raw scores of --scorer {kind} are never divided by length"
    assert message in refusal(data, teacher, cache, *short, "--distill-lenpen", 0.6)
    mixed = f"{teacher}:{checkpoints['softmax']}"
    assert f"an ensemble of 1 {kind} and 1 softmax models" in refusal(data, mixed, cache, *short)
    assert not cache.exists()  # otherwise it would expect the refused options
    distill(data, teacher, cache, *short)
    options = [*SEQUENCE, "--teacher-path", teacher, "--distill-cache", cache, *short, "--max-update", 2]
    done = train(data, tmp_path / "student", *options, "--disable-validation")
    assert "training on the distilled pairs" in done.stderr + done.stdout


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--task", "translation", "--criterion", "word_distillation"], "needs a task with a teacher"),
        ([*WORD], "give --teacher-path CHECKPOINT"),
        (
            [*WORD[:2], *BSO, "--teacher-path", "teacher.pt"],
            "--criterion beam_search_optimization does not learn from a teacher's words",
        ),
        ([*WORD, "--distill-weight", 1.5], "--distill-weight is 1.5, but must be from 0 to 1"),
    ],
)
def test_bad_options_end_with_one_line(data, tmp_path, arguments, message):
    done = train(data, tmp_path / "run", *arguments, "--max-update", 2, check=False)
    assert message in last_line(done)
