"""What the teacher said is kept, in memory and in a folder."""

import json
import multiprocessing
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import fakes
from reference.teaching import END, criterion, pairs_batch, teaching_task

from fairseq_bso.distill.teacher import Teacher
from fairseq_bso.distill.teacher_cache import TeacherTopKCache, TopKFolder
from fairseq_bso.errors import UserError
from fairseq_bso.locks import alone


class CountingTeacher(Teacher):
    """A teacher that counts its forward passes."""

    runs = 0

    def log_probs(self, net_input):
        self.runs += 1
        return super().log_probs(net_input)


sentences = st.lists(st.integers(4, 9), min_size=1, max_size=4).map(lambda words: (*words, END))


@settings(max_examples=40, deadline=None)
@given(
    pairs=st.lists(st.tuples(sentences, sentences), min_size=1, max_size=5, unique=True),
    data=st.data(),
    temperature=st.sampled_from([1.0, 2.0]),
    top_k=st.sampled_from([1, 3, 100]),
)
def test_caching_the_teachers_words_changes_no_loss(pairs, data, temperature, top_k):
    student, model = (fakes.model(seed, scorer="softmax") for seed in range(2))
    options = {"distill_temperature": temperature, "teacher_top_k": top_k}
    again = criterion(teaching_task(model), **options)
    task = teaching_task(model)
    teacher = type(task).teacher = CountingTeacher([model], ["one.pt"])
    caching = criterion(task, teacher_memory=True, **options)
    known = set()
    for _ in range(4):
        # Batches differ in their sentences, order and width.
        batch = data.draw(st.lists(st.sampled_from(pairs), min_size=1, max_size=4))
        before, sample = teacher.runs, pairs_batch(student, batch)
        found, expected = (one(student, sample)[2] for one in (caching, again))
        for name in ("loss", "nll_loss", "distill_loss", "teacher_entropy", "agreement"):
            assert float(found[name]) == pytest.approx(float(expected[name]), rel=1e-5, abs=1e-6), name
        assert teacher.runs - before == (not known.issuperset(batch))
        known.update(batch)
    assert len(caching.cache.known) == len(known)


@pytest.mark.parametrize("prefixes", [[[2, 5, 6], [2, 7, 1]], [[2, 5, 6], [1, 2, 7]], [[1, 2, 5], [1, 2, 7]]])
def test_padding_may_stand_on_either_side(prefixes):
    scores = torch.randn(2, 3, 9, generator=torch.manual_seed(1)).log_softmax(2)
    cache = TeacherTopKCache(SimpleNamespace(log_probs=lambda net_input: scores.clone()), 4, 1)
    net_input = {"src_tokens": torch.tensor([[4, 2], [5, 2]]), "prev_output_tokens": torch.tensor(prefixes)}
    real = net_input["prev_output_tokens"].ne(1)
    for _ in range(2):  # computed, then from memory
        for found, expected in zip(cache.top_k(net_input), scores.topk(4)):
            assert torch.equal(found[real], expected[real]) and not found[~real].any()


@pytest.fixture
def caching(tmp_path):
    """A function that returns a criterion with a cache in a folder, its counting teacher and its student."""
    checkpoint = tmp_path / "teacher.pt"
    checkpoint.write_bytes(b"stands for the checkpoint of the teacher")

    def make(**options):
        student, model = (fakes.model(seed, scorer="softmax") for seed in range(2))
        task = teaching_task(model)
        teacher = type(task).teacher = CountingTeacher([model], [str(checkpoint)])
        options = {"teacher_top_k": 3, "teacher_memory_folder": str(tmp_path / "memory"), **options}
        return criterion(task, **options), teacher, student

    return make


PAIRS = [((4, 5, END), (6, END)), ((7, END), (5, 5, 4, END)), ((4, END), (4, END))]


def test_a_second_training_reads_the_cache_of_the_first(caching, tmp_path, monkeypatch):
    monkeypatch.setattr(TopKFolder, "PART", 2)
    first, teacher, student = caching()
    batches = [pairs_batch(student, PAIRS[:2]), pairs_batch(student, PAIRS[2:])]
    expected = [one(student, batch)[2] for _ in range(2) for batch in batches for one in [first]][:2]
    assert teacher.runs == 2
    assert len(list((tmp_path / "memory").glob("*.npz"))) == 2  # two sentences at once, one at the epoch's end

    second, teacher, student = caching()
    for batch, right in zip(batches, expected):
        found = second(student, batch)[2]
        assert float(found["distill_loss"]) == float(right["distill_loss"])
    second(student, pairs_batch(student, [PAIRS[1], PAIRS[2]]))  # another batch
    assert teacher.runs == 0
    assert len(list((tmp_path / "memory").glob("*.npz"))) == 2


def test_the_end_of_a_training_writes_what_is_left(caching, tmp_path):
    def train():
        made, _, student = caching()
        made(student, pairs_batch(student, PAIRS))
        assert not list((tmp_path / "memory").glob("*.npz"))
        train.kept = made  # as fairseq keeps its criterion until the process ends

    process = multiprocessing.get_context("fork").Process(target=train)
    process.start()
    process.join()
    assert process.exitcode == 0
    again, teacher, student = caching()
    again(student, pairs_batch(student, PAIRS))
    assert teacher.runs == 0 and len(again.cache.known) == len(PAIRS)


def test_two_trainings_with_other_teachers_that_begin_together(caching, tmp_path):
    """Both find no manifest. The later one is refused, and no file of one is read by the other."""
    memory = tmp_path / "memory"
    with ThreadPoolExecutor(1) as other:
        with alone(memory / "lock"):
            later = other.submit(caching, teacher_top_k=4)
            time.sleep(0.1)
            identity = {**caching(teacher_memory_folder=str(tmp_path / "elsewhere"))[0].cache.folder.identity}
            (memory / "manifest.json").write_text(json.dumps(identity))
        with pytest.raises(UserError, match="--teacher-top-k was 3, is now 4"):
            later.result()
    first, _, student = caching(teacher_memory_folder=str(tmp_path / "elsewhere"), teacher_top_k=3)
    for _ in range(2):
        first(student, pairs_batch(student, PAIRS))
    (part,) = (tmp_path / "elsewhere").glob("*.npz")
    four = {"teacher_top_k": 4, "teacher_memory_folder": str(tmp_path / "four")}
    caching(**four)
    part.rename(tmp_path / "four" / part.name)
    with pytest.raises(UserError, match="it was made by another teacher"):
        caching(**four)


def test_a_long_value_of_a_manifest_is_cut_in_the_message(caching, tmp_path):
    cache = caching()[0].cache.folder
    identity = {**cache.identity, "--teacher-top-k": "\n" + "9" * 5000}
    cache.manifest_path.write_text(json.dumps(identity))
    with pytest.raises(UserError, match=r"--teacher-top-k was \\n9{98}\.\.\., is now 3"):
        caching()


def test_a_cache_of_another_teacher_is_refused(caching, tmp_path):
    caching()
    with pytest.raises(UserError, match="memory holds the words of another teacher: --teacher-top-k was 3, is now 4"):
        caching(teacher_top_k=4)
    (tmp_path / "teacher.pt").write_bytes(b"another one")
    with pytest.raises(UserError, match="the teacher's checkpoint was .* is now .* or another --teacher-memory-folder"):
        caching()
    (tmp_path / "memory" / "manifest.json").write_text("[")
    with pytest.raises(UserError, match="manifest.json is damaged: remove the folder"):
        caching()
    (tmp_path / "memory" / "manifest.json").rename(tmp_path / "memory" / "notes.txt")
    with pytest.raises(UserError, match="memory holds other files: give another --teacher-memory-folder"):
        caching()
    with pytest.raises(UserError, match="--teacher-top-k is 0, but --teacher-memory stores only"):
        caching(teacher_top_k=0)


def test_damaged_and_unwritable_caches_are_one_message(caching, tmp_path, monkeypatch):
    made, _, student = caching()
    for _ in range(2):
        made(student, pairs_batch(student, PAIRS))
    (part,) = (tmp_path / "memory").glob("*.npz")
    whole = part.read_bytes()
    part.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=f"{part.name} with the teacher's top k words is damaged"):
        caching()
    part.unlink()
    made, _, student = caching()
    made(student, pairs_batch(student, PAIRS))

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("numpy.savez", full)
    with pytest.raises(UserError, match="cannot be written to .*memory .No space left on device.: make room"):
        made(student, pairs_batch(student, PAIRS))
    assert sorted(path.name for path in (tmp_path / "memory").iterdir()) == ["manifest.json"]
