"""The folder of distilled targets, when processes meet in it or are killed."""

import math
import threading
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import torch
from reference import fakes
from tiny_captures import SOURCES, TARGETS, write_data

from fairseq_bso.distill import cache_identity
from fairseq_bso.distill.cache import Cache
from fairseq_bso.distill.cache_identity import cache_of
from fairseq_bso.distill.job import DistillationJob, Shard
from fairseq_bso.distill.options import SequenceDistillationConfig, check_options
from fairseq_bso.distill.tasks import SequenceDistillationTask
from fairseq_bso.errors import UserError

END = 2


def test_a_cache_of_which_nothing_was_made_refuses_no_options(tmp_path):
    first = Cache(str(tmp_path / "cache"), {"a": 1}, {})
    with pytest.raises(KeyboardInterrupt), first.alone():
        assert not first.complete()
        raise KeyboardInterrupt  # the teacher cannot be read
    assert not (tmp_path / "cache").exists()
    second = Cache(str(tmp_path / "cache"), {"a": 2}, {})
    with second.alone():
        assert not second.complete()
        second.write_part(0, [(0, [[4, END]])])
    with pytest.raises(UserError, match="a was 2, is now 1"):
        first.complete()


def finish(cache, sentences=2):
    """Makes a complete cache of some sentences."""
    gold = SimpleNamespace(src=[torch.tensor([4, END])] * sentences)
    cache.write_part(0, [(place, [[5, END]]) for place in range(sentences)])
    cache.finish(1, gold, "train.de-en", {"de": fakes.dictionary(6), "en": fakes.dictionary(6)}, {})


def test_a_message_names_a_few_of_many_differences(tmp_path):
    first = Cache(str(tmp_path / "cache"), dict.fromkeys("abcdefghi", 1), {})
    with first.alone():
        first.write_part(0, [(0, [[4, END]])])
        finish(first)
    second = Cache(str(tmp_path / "cache"), dict.fromkeys("abcdefghi", 2), {})
    message = "data: a was 1, is now 2; b .*; e was 1, is now 2; 4 more: give the same options and data, or another"
    with pytest.raises(UserError, match=message):
        second.complete()


def test_two_processes_that_begin_together_make_one_cache(tmp_path):
    """The second waits for the first, then finds its cache, or is refused if it has other options."""
    first, same, other = (Cache(str(tmp_path / "cache"), {"a": value}, {}) for value in (1, 1, 2))
    reports = []

    def begin(cache):
        assert not cache.complete()
        ready.wait()
        with cache.alone():
            reports.append(cache.complete())

    ready = threading.Barrier(3)
    with ThreadPoolExecutor(2) as others:
        with first.alone():
            waiting = [others.submit(begin, cache) for cache in (same, other)]
            ready.wait()
            finish(first)
        waiting[0].result()
        with pytest.raises(UserError, match="a was 1, is now 2"):
            waiting[1].result()
    assert reports == [True] and first.complete()
    assert not (tmp_path / "cache" / "lock").exists()


def test_all_workers_follow_the_answer_of_the_first(monkeypatch):
    def broadcast(answers):
        answers[0] = True

    monkeypatch.setattr(torch.distributed, "broadcast_object_list", broadcast)
    assert Shard(1, 2, distributed=True).agree(False)  # the cache was finished after this worker had looked
    assert not Shard(1, 2).agree(False)


def test_sentences_are_not_padded_to_buckets_before_the_teacher_reads_them(tmp_path):
    options = {"source_lang": "src", "target_lang": "tgt", "distill_cache": "cache", "teacher_path": "teacher.pt"}
    cfg = SequenceDistillationConfig(data=str(write_data(tmp_path / "data")), num_batch_buckets=2, **options)
    cfg.train_subset, cfg.dataset_impl, cfg.required_seq_len_multiple = "test", None, 1
    gold = SequenceDistillationTask.setup_task(cfg).load_gold()
    assert [sentence.tolist() for sentence in gold.src] == SOURCES
    assert [sentence.tolist() for sentence in gold.tgt] == TARGETS
    assert cfg.num_batch_buckets == 2  # the distilled pairs are padded


@pytest.mark.parametrize(
    "options, message",
    [
        ({"distill_lenpen": math.nan}, "--distill-lenpen is nan, but must be from -10 to 10"),
        ({"distill_lenpen": 400.0}, "--distill-lenpen is 400.0, but must be from -10 to 10"),
        ({"distill_max_len_a": math.inf}, "--distill-max-len-a is inf .* must be finite, and at least 0 and 1"),
    ],
)
def test_numbers_that_are_not_finite_are_refused(options, message):
    cfg = SequenceDistillationConfig(data="data", distill_cache="cache", teacher_path="teacher.pt", **options)
    with pytest.raises(UserError, match=message):
        check_options(cfg)


@pytest.mark.parametrize(
    "teacher, options, message",
    [
        ("no.pt", {}, r"no.pt cannot be read \(No such file or directory\): correct --teacher-path"),
        (
            "teacher.pt",
            {"successors": "shortlist"},
            r"shortlist.src-tgt cannot be read \(.*\): make it with `fairseq-bso",
        ),
        ("teacher.pt", {"successors": "shortlist", "shortlist": "no"}, r"no cannot be read \(.*\): make it with"),
    ],
)
def test_a_missing_file_that_targets_depend_on_has_a_remedy(tmp_path, teacher, options, message):
    (tmp_path / "teacher.pt").write_bytes(b"weights")
    common = {"source_lang": "src", "target_lang": "tgt", "distill_cache": "cache", **options}
    data = str(write_data(tmp_path / "data"))
    cfg = SequenceDistillationConfig(data=data, teacher_path=str(tmp_path / teacher), **common)
    cfg.train_subset = "test"
    with pytest.raises(UserError, match=message):
        cache_of(cfg, 5, None, torch.float32)


def test_a_training_set_of_too_long_sources_is_refused(tmp_path):
    gold = type("Gold", (list,), {"src_sizes": [9, 8]})([None] * 2)
    job = DistillationJob(Cache(str(tmp_path), {}, {}), gold, 7, 100, None, None, "train.de-en", {})
    with pytest.raises(UserError, match="every source has more than 7 words, the longest that the teacher"):
        job.run(Shard())


def test_parts_that_were_made_otherwise_are_not_taken(tmp_path):
    caches = [Cache(str(tmp_path), {"a": value}, {"b": value}) for value in range(2)]
    caches[0].write_part(0, [(0, [[4, END]])])
    (tmp_path / "manifest.json").unlink()
    assert caches[0].has_part(0) and not caches[1].has_part(0)


def test_parts_of_another_size_are_not_taken(tmp_path, monkeypatch):
    """A version that puts more batches into a part would lose sentences: it would take smaller parts for its own."""
    teacher = tmp_path / "teacher.pt"
    teacher.write_bytes(b"weights")
    options = {"source_lang": "src", "target_lang": "tgt", "distill_cache": str(tmp_path / "cache")}
    cfg = SequenceDistillationConfig(data=str(write_data(tmp_path / "data")), teacher_path=str(teacher), **options)
    cfg.train_subset = "test"
    caches = []
    for size in (4, 8):
        monkeypatch.setattr(cache_identity, "BATCHES_IN_A_PART", size)
        caches.append(cache_of(cfg, 5, None, torch.float32))
    caches[0].write_part(0, [(0, [[4, END]])])
    assert caches[0].has_part(0) and not caches[1].has_part(0)
    with pytest.raises(UserError, match="batches in a part was 4, is now 8"):
        caches[1].complete()


def test_what_a_killed_process_left_in_a_complete_cache_is_removed(tmp_path):
    cache = Cache(str(tmp_path), {}, {})
    finish(cache)
    whole = sorted(path.name for path in tmp_path.iterdir())
    (tmp_path / "parts").mkdir()
    for name in ("parts/00000.npz", "lock", f"train.de-en.de.bin.{'0' * 32}.partial"):
        (tmp_path / name).write_bytes(b"left")
    assert cache.complete() and sorted(path.name for path in tmp_path.iterdir()) == whole
