"""`compat`: fairseq's checkpoints load, unknown classes still do not, and fairseq works with newer libraries."""

import argparse
import pickle
import subprocess
import sys
import zipfile

import numpy
import pytest
import torch
from fairseq.data import BucketPadLengthDataset, FairseqDataset, TokenBlockDataset, data_utils
from fairseq.search import DiverseBeamSearch
from reference import fakes

from fairseq_bso import compat

needs_safe_loader = pytest.mark.skipif(
    compat.torch_version() < (2, 6), reason="torch {} loads without its safe loader".format(torch.__version__)
)


class Stranger:
    """A class that is in no checkpoint of fairseq."""


def test_a_checkpoint_as_fairseq_writes_it_loads_with_torchs_defaults(tmp_path):
    """The checkpoint holds the command line, and the n-gram counts that --eval-bleu leaves in the meters."""
    saved = {
        "args": argparse.Namespace(arch="bso_lstm", lr=[0.1]),
        "model": {"weight": torch.arange(3.0)},
        "extra_state": {
            "counts": numpy.array([4, 3, 2, 1]),
            "mean": numpy.float64(0.25),
            "whole": numpy.int64(7),
            "floats": numpy.array([0.5], dtype=numpy.float32),
            "flags": numpy.array([True, False]),
        },
    }
    torch.save(saved, tmp_path / "checkpoint.pt")
    loaded = torch.load(tmp_path / "checkpoint.pt")
    assert loaded["args"] == saved["args"]
    assert torch.equal(loaded["model"]["weight"], saved["model"]["weight"])
    for name, value in saved["extra_state"].items():
        assert numpy.array_equal(loaded["extra_state"][name], value), name


@needs_safe_loader
def test_without_compat_the_same_checkpoint_is_refused(tmp_path):
    """The line in `compat` is needed. If this test fails, a newer torch or fairseq has made the line superfluous."""
    torch.save({"args": argparse.Namespace(arch="lstm")}, tmp_path / "checkpoint.pt")
    load = "import sys, torch; torch.load(sys.argv[1])"
    command = [sys.executable, "-c", load, str(tmp_path / "checkpoint.pt")]
    result = subprocess.run(command, capture_output=True, text=True)
    assert result.returncode != 0
    assert "argparse.Namespace" in result.stderr


def rename_in_checkpoint(path, renamed, old: bytes, new: bytes):
    """Copies the checkpoint at `path` to `renamed`, and replaces `old` by `new` in its pickle."""
    with zipfile.ZipFile(path) as before, zipfile.ZipFile(renamed, "w") as after:
        for member in before.namelist():
            content = before.read(member)
            after.writestr(member, content.replace(old, new) if member.endswith("data.pkl") else content)


@needs_safe_loader
@pytest.mark.parametrize("folder", [b"core", b"_core"], ids=["numpy 1", "numpy 2"])
def test_arrays_written_under_either_numpy_load(folder, tmp_path):
    """A pickle names the function that rebuilds an array. numpy 2 moved it from numpy.core to numpy._core."""
    torch.save({"counts": numpy.array([4, 3]), "mean": numpy.float64(0.25)}, tmp_path / "written.pt")
    module = b"cnumpy.%s.multiarray\n"
    here = b"_core" if hasattr(numpy, "_core") else b"core"
    rename_in_checkpoint(tmp_path / "written.pt", tmp_path / "checkpoint.pt", module % here, module % folder)
    with zipfile.ZipFile(tmp_path / "checkpoint.pt") as archive:
        pickled = next(archive.read(name) for name in archive.namelist() if name.endswith("data.pkl"))
    assert pickled.count(module % folder) == 2
    loaded = torch.load(tmp_path / "checkpoint.pt")
    assert loaded["counts"].tolist() == [4, 3]
    assert loaded["mean"] == 0.25


@needs_safe_loader
def test_an_unknown_class_is_still_refused(tmp_path):
    torch.save({"args": Stranger()}, tmp_path / "checkpoint.pt")
    with pytest.raises(pickle.UnpicklingError, match="Stranger"):
        torch.load(tmp_path / "checkpoint.pt")


def test_asking_twice_changes_nothing():
    compat.allow_in_checkpoints(argparse.Namespace)
    if compat.torch_version() >= (2, 6):
        allowed = torch.serialization.get_safe_globals()
        assert allowed.count(argparse.Namespace) == 1


def test_metrics_is_the_module_that_fairseqs_trainer_reads():
    from fairseq import trainer

    assert compat.metrics is trainer.metrics


class Sentences(FairseqDataset):
    """A data set that has only lengths."""

    def __init__(self, lengths):
        self.lengths = numpy.array(lengths)

    def __len__(self):
        return len(self.lengths)

    def num_tokens(self, index):
        return self.lengths[index]

    def num_tokens_vec(self, indices):
        return self.lengths[indices]


@pytest.mark.parametrize("count", [1, 7, 8, 9, 20, 24])
@pytest.mark.parametrize(
    "limit", [{"max_tokens": 1000}, {"max_tokens": 45}, {"max_sentences": 1}, {"max_sentences": 10}]
)
@pytest.mark.parametrize("multiple", [1, 8])
def test_every_sentence_is_in_one_batch(count, limit, multiple):
    """fairseq-fixed drops the last batch if its length is not a multiple of 8."""
    batches = Sentences([5] * count).batch_by_size(numpy.arange(count), required_batch_size_multiple=multiple, **limit)
    assert numpy.concatenate(batches).tolist() == list(range(count))
    for batch in batches:
        assert 5 * len(batch) <= limit.get("max_tokens", 1000)
        assert len(batch) <= limit.get("max_sentences", 1000)
        assert len(batch) < multiple or len(batch) % multiple == 0 or batch is batches[-1]


def test_indices_may_be_any_iterable():
    batches = data_utils.batch_by_size(iter(range(5)), lambda index: 3, max_tokens=6, required_batch_size_multiple=8)
    assert [batch.tolist() for batch in batches] == [[0, 1], [2, 3], [4]]


@pytest.mark.parametrize("by_keyword", [True, False])
def test_fixed_shapes_are_left_to_fairseq(by_keyword):
    shapes = [(2, 3)]
    arguments, keywords = ((), {"fixed_shapes": shapes}) if by_keyword else ((None, None, None, 1, shapes), {})
    call = (numpy.arange(5), lambda index: 3, *arguments)
    batches = data_utils.batch_by_size(*call, **keywords)
    expected = data_utils.batch_by_size.__wrapped__(*call, **keywords)
    assert [list(batch) for batch in batches] == [list(batch) for batch in expected]


def test_samples_of_a_language_model_may_be_sentences():
    """fairseq reads `numpy.compat` for --sample-break-mode eos, and numpy 2 has no such module."""
    sentences = [torch.tensor([4, 5, 2]), torch.tensor([6, 2])]
    cut = TokenBlockDataset(sentences, [3, 2], 8, pad=1, eos=2, break_mode="eos", include_targets=True)
    assert [source.tolist() for source, *_ in cut] == [[2, 4, 5], [2, 6]]


@pytest.mark.parametrize("buckets", [1, 2, 5])
def test_lengths_fall_into_buckets_with_any_numpy(buckets):
    """Every bucket ends at a length that exists, and the last one at the longest."""
    sizes = numpy.array([3, 9, 4, 4, 7, 12, 5, 5])
    data = BucketPadLengthDataset([torch.full((size,), 5) for size in sizes], sizes, buckets, 1, left_pad=True)
    limits = data.buckets.tolist()
    assert limits == sorted(set(limits)) and len(limits) <= buckets and limits[-1] == 12
    assert set(limits) <= set(sizes.tolist())
    for place, size in enumerate(sizes):
        padded = data[place].tolist()
        assert len(padded) in limits and padded == [1] * (len(padded) - size) + [5] * size


@pytest.mark.parametrize("numbers", [[40, 7, 1], [2, 0, 1]])
def test_diverse_beams_do_not_depend_on_the_numbers_of_the_sentences(numbers):
    """Three sentences, of which the first is finished after two steps; fairseq is right for the numbers 0, 1, 2."""

    def search(numbers):
        random, numbers = torch.Generator().manual_seed(1), torch.tensor(numbers)
        diverse, found = DiverseBeamSearch(fakes.dictionary(6), 2, 0.8), []
        for step in range(4):
            numbers = numbers[1:] if step == 2 else numbers
            scores = torch.randn(3, 4, 10, generator=random).log_softmax(2)[-len(numbers) :]  # (b, K, V)
            found += diverse.step(step, scores, torch.zeros(len(numbers), 4, step), None, numbers)
        return found

    assert all(torch.equal(one, other) for one, other in zip(search(numbers), search([0, 1, 2])))
    undisturbed = DiverseBeamSearch.step.__wrapped__
    assert undisturbed.__module__ == "fairseq.search"
