"""Data that is not there, empty or without targets is one message, in our tasks, criterions and commands."""

import pytest
import tiny_captures
import torch
from reference import fakes

from fairseq_bso import cli, tasks
from fairseq_bso.bso.criterion import BeamSearchOptimizationCriterion
from fairseq_bso.cross_entropy import criterion as cross_entropy
from fairseq_bso.distill.criterion import WordDistillationCriterion
from fairseq_bso.distill.teacher import Teacher
from fairseq_bso.errors import UserError

CRITERIONS = {
    "beam_search_optimization": lambda task: BeamSearchOptimizationCriterion(
        task, 2, 2, 0, "zero_one", 1.0, 0.0, "model", 4, False
    ),
    "word_distillation": lambda task: WordDistillationCriterion(task, 0.5, 1.0, 0, False, 0.0, False),
    "blockwise_cross_entropy": lambda task: cross_entropy.BlockwiseCrossEntropyCriterion(task, False),
    "blockwise_label_smoothed_cross_entropy": lambda task: cross_entropy.BlockwiseLabelSmoothedCrossEntropyCriterion(
        task, False, 0.1
    ),
    "self_normalized_cross_entropy": lambda task: cross_entropy.SelfNormalizedCrossEntropyCriterion(
        task, False, 0.0, 0.1
    ),
}


@pytest.mark.parametrize("name", CRITERIONS)
def test_every_criterion_names_data_without_targets(name):
    """As a batch of fairseq-preprocess --only-source is: no target, and no input of the decoder."""
    model = fakes.model(scorer="softmax").train()

    class Task(fakes.FakeTask):
        teacher = Teacher([model], ["one.pt"])

    net_input = {"src_tokens": torch.tensor([[5, 2]]), "src_lengths": torch.tensor([2])}
    sample = {"net_input": net_input, "target": None, "ntokens": 2, "id": torch.tensor([0])}
    with pytest.raises(UserError, match=f"{name} needs target sentences, but the data has none"):
        CRITERIONS[name](Task())(model, sample)


def task_of(data, **options):
    config = tasks.BsoTranslationConfig(data=str(data), **options)
    config.dataset_impl, config.required_seq_len_multiple, config.train_subset = None, 1, "train"
    return tasks.BsoTranslationTask.setup_task(config)


def test_a_task_names_a_subset_that_is_not_there_or_empty(tmp_path):
    data = tiny_captures.write_data(tmp_path / "data")
    task = task_of(data)
    task.load_dataset("test")
    assert len(task.dataset("test")) == len(tiny_captures.SOURCES)
    with pytest.raises(UserError, match="data has no subset valid of src-tgt: there are test; correct its name"):
        task.load_dataset("valid")
    (data / "test.src-tgt.tgt.bin").write_bytes(b"")
    with pytest.raises(UserError, match="the subset test in .*data is empty: test.src-tgt.tgt.bin holds no sentence"):
        task.load_dataset("test")


@pytest.mark.parametrize("successors", ["none", "word_order"])
def test_one_sided_data_can_be_decoded_but_not_learned_from(tmp_path, successors):
    task = task_of(tiny_captures.write_data(tmp_path / "data", targets=None), successors=successors)
    task.load_dataset("test")
    task.learns = True  # as after `build_criterion`
    with pytest.raises(UserError, match="the subset test in .*data has no tgt side, from which to learn"):
        task.load_dataset("test")


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    folder = tmp_path_factory.mktemp("teacher")
    data = tiny_captures.write_data(folder / "data")
    tiny_captures.write_checkpoint(folder / "model.pt", data, "bso_lstm")
    return folder / "model.pt"


def distill(data, teacher, cache, *options):
    return cli.main(
        ["distill", str(data), "--teacher-path", str(teacher), "--distill-cache", str(cache), "--cpu", *options]
    )


def raw_data(folder, source="word1 word2\nword3\n", target="word4\nword5 word0 word1\n"):
    """A folder as `--dataset-impl raw` reads it: text and dictionaries."""
    folder.mkdir()
    for side in ("src", "tgt"):
        fakes.dictionary(6).save(str(folder / f"dict.{side}.txt"))
    for side, text in (("src", source), ("tgt", target)):
        (folder / f"train.src-tgt.{side}").write_text(text)
    return folder


def test_distill_reads_raw_data(tmp_path, teacher):
    data = raw_data(tmp_path / "raw")
    assert distill(data, teacher, tmp_path / "cache", "--distill-max-len-a", "0", "--distill-max-len-b", "4") == 0
    task = task_of(tmp_path / "cache")
    task.load_dataset("train")
    pairs = task.dataset("train")
    assert [task.source_dictionary.string(pairs[number]["source"]) for number in range(2)] == ["word1 word2", "word3"]
    assert all(1 <= len(pairs[number]["target"]) <= 5 for number in range(2))


def without(name):
    return lambda data: (data / name).unlink()


@pytest.mark.parametrize(
    "spoil, options, message",
    [
        (lambda data: data.rename(data.with_name("elsewhere")), [], "the data folder .*raw cannot be used .*"),
        (without("dict.tgt.txt"), [], r"raw cannot be used \(.*dict.tgt.txt.*\): give the folder"),
        (
            without("train.src-tgt.src"),
            ["-s", "src", "-t", "tgt"],
            "raw has no subset train of src-tgt: there are none",
        ),
        (lambda data: None, ["--train-subset", "trian"], "raw has no subset trian of src-tgt: there are train;"),
        (lambda data: None, ["-s", "de", "-t", "tgt"], r"raw cannot be used \(.*dict.de.txt.*\)"),
        (lambda data: (data / "train.src-tgt.tgt").write_text(""), [], "the subset train in .*raw is empty"),
        (without("train.src-tgt.tgt"), [], "the subset train in .*raw has no tgt side"),
    ],
)
def test_distill_names_what_is_wrong_with_a_folder(tmp_path, teacher, spoil, options, message):
    data = raw_data(tmp_path / "raw")
    spoil(data)
    with pytest.raises(UserError, match=message):
        distill(data, teacher, tmp_path / "cache", *options)
    assert not (tmp_path / "cache").exists()


def test_an_empty_subset_has_no_states(tmp_path, teacher):
    """fairseq-preprocess of an empty test file succeeds, and fairseq fails when it loads the result."""
    data = tiny_captures.write_data(tmp_path / "data")
    (data / "test.src-tgt.src.bin").write_bytes(b"")
    with pytest.raises(UserError, match="the subset test in .*data is empty"):
        cli.main(["states", str(teacher), str(data), "--out", str(tmp_path / "out"), "--cpu"])
    assert not (tmp_path / "out").exists()
