"""The selection of hypotheses, the division of the work, the parts of the cache, and the criterion with a teacher."""

import json
import multiprocessing
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import distillation as slow
from reference import fakes

from fairseq_bso.batches import length_batches
from fairseq_bso.distill.cache import Cache
from fairseq_bso.distill.criterion import WordDistillationCriterion
from fairseq_bso.distill.job import decode_missing, in_parts, order_of_parts
from fairseq_bso.distill.selection import HypothesisSelector
from fairseq_bso.distill.teacher import Teacher
from fairseq_bso.distill.teacher_cache import TopKFolder
from fairseq_bso.errors import UserError
from fairseq_bso.files import alone

PADDING, END = 1, 2


def dictionary(*symbols):
    """A dictionary with fairseq's four special symbols and then the given ones."""
    made = fakes.dictionary(0)
    for symbol in symbols:
        made.add_symbol(symbol)
    return made


def test_seq_kd_keeps_the_best_of_the_search_that_fit():
    selector = HypothesisSelector("seq_kd", 2, 2.0, dictionary("a", "b"), None)
    hypotheses = [[[4, 4, 4, 4, 4, END], [4, END], [4, 5, END], [5, 5, END]]]
    assert selector.select(hypotheses, [3], [[4, END]]) == [[[4, END], [4, 5, END]]]  # the first has 5 words for 2
    assert selector.select([[[4, 4, 4, 4, 4, END]]], [3], [[4, END]]) == [[]]


def test_seq_inter_compares_words_not_pieces():
    """The pieces "un" "der" differ from the piece "under"; both are the reference's word after joining."""
    pieces = dictionary("\u2581under", "\u2581un", "der", "\u2581it", "\u2581at")
    under, un, der, it, at = range(4, 9)
    hypotheses = [[[at, it, END], [un, der, it, END]], [[], []], [[at, END], [it, END]]]
    golds = [[under, it, END], [it, END], [3, END]]
    joined = HypothesisSelector("seq_inter", 1, 0, pieces, "sentencepiece").select(hypotheses, [3, 3, 3], golds)
    assert joined == [[[un, der, it, END]], [[]], [[at, END]]]
    separate = HypothesisSelector("seq_inter", 1, 0, pieces, None).select(hypotheses[:1], [3], golds[:1])
    assert separate == [[[at, it, END]]]  # half of the pieces are right


def test_an_unknown_word_is_never_right():
    selector = HypothesisSelector("seq_inter", 1, 0, dictionary("a", "b"), None)
    assert selector.select([[[3, 4, END], [4, 4, END]]], [3], [[3, 4, END]]) == [[[3, 4, END]]]
    assert selector.select([[[3, END], [4, END]]], [2], [[3, END]]) == [[[3, END]]]  # both have BLEU 0: the first
    with pytest.raises(UserError, match="--distill-remove-bpe syllables is not known"):
        HypothesisSelector("seq_inter", 1, 0, dictionary(), "syllables")


words = st.lists(st.integers(4, 6), min_size=1, max_size=5).map(lambda ids: [*ids, END])


@given(lists=st.lists(st.lists(words, min_size=0, max_size=4), min_size=1, max_size=3), data=st.data())
def test_seq_inter_selects_the_highest_bleu_of_each_list(lists, data):
    golds = [data.draw(words) for _ in lists]
    found = HypothesisSelector("seq_inter", 1, 0, dictionary("a", "b", "c"), None).select(
        lists, [3] * len(lists), golds
    )
    for several, gold, kept in zip(lists, golds, found):
        assert len(kept) == min(1, len(several))
        for hypothesis in several:
            assert slow.sentence_bleu(hypothesis[:-1], gold[:-1]) <= slow.sentence_bleu(kept[0][:-1], gold[:-1]) + 1e-6


@given(sizes=st.lists(st.integers(1, 9), max_size=20), max_tokens=st.integers(1, 20))
def test_batches_hold_every_sentence_once_the_longest_first_within_the_limit(sizes, max_tokens):
    batches = length_batches(sizes, range(len(sizes)), max_tokens)
    order = [place for batch in batches for place in batch]
    assert sorted(order) == list(range(len(sizes)))
    assert [sizes[place] for place in order] == sorted(sizes, reverse=True)
    for batch in batches:
        assert len(batch) == 1 or len(batch) * sizes[batch[0]] <= max_tokens


@given(count=st.integers(0, 9), workers=st.integers(1, 4))
def test_every_worker_takes_its_own_parts_first_and_could_make_all(count, workers):
    orders = [order_of_parts(count, rank, workers) for rank in range(workers)]
    for rank, order in enumerate(orders):
        assert sorted(order) == list(range(count))
        assert order[: len(range(rank, count, workers))] == list(range(rank, count, workers))


def test_parts_come_back_as_they_were_written_and_a_damaged_one_is_named(tmp_path):
    cache = Cache(str(tmp_path / "cache"), {"a": 1}, {"b": 2})
    assert not cache.complete() and not cache.has_part(0)
    targets = [(3, [[4, 5, END], [END]]), (1, []), (0, [[4, END]])]
    cache.write_part(0, targets)
    assert cache.read_part(0) == targets
    path = tmp_path / "cache" / "parts" / f"00000.{cache.digest}.npz"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(UserError, match=f"the part {path} .* is damaged"):
        cache.read_part(0)
    with pytest.raises(UserError, match="a was 1, is now 2; b was 2, is now 3"):
        Cache(str(tmp_path / "cache"), {"a": 2}, {"b": 3}).complete()


def test_only_missing_parts_are_decoded_and_an_unwanted_worker_stops(tmp_path):
    cache = Cache(str(tmp_path), {}, {})
    parts = in_parts([[place] for place in range(10)], [1] * 10)
    assert [part.batches for part in parts] == [[[0], [1], [2], [3]], [[4], [5], [6], [7]], [[8], [9]]]
    asked = []

    def decode(batch):
        asked.extend(batch)
        return [(place, [[END]]) for place in batch]

    cache.write_part(1, [])
    decode_missing(cache, parts, decode, 1, 2, lambda: len(asked) < 3)
    assert asked == [8, 9, 0] and cache.has_part(2) and not cache.has_part(0)
    decode_missing(cache, parts, decode, 0, 1)
    assert asked == [8, 9, 0, 0, 1, 2, 3]


def teaching_task(*teachers):
    """A task with these models as its teacher."""

    class Task(fakes.FakeTask):
        teacher = Teacher(list(teachers), ["one.pt", "two.pt"][: len(teachers)])

    return Task()


def criterion(task, **options):
    values = {"distill_weight": 0.5, "distill_temperature": 1.0, "teacher_top_k": 0}
    values.update(teacher_memory=False, label_smoothing=0.0, sentence_avg=False)
    return WordDistillationCriterion(task, **{**values, **options})


def made_sample(model):
    net_input, target = fakes.batch(model, [[5, 6, 2], [7, 2]], [[7, 8, 2], [5, 2]])
    return {"net_input": net_input, "target": target, "ntokens": 5}


@pytest.mark.parametrize("temperature, top_k, smoothing", [(1.0, 0, 0.0), (2.0, 3, 0.1)])
def test_the_criterion_averages_an_ensemble_and_equals_the_slow_twin(temperature, top_k, smoothing):
    student, *teachers = (fakes.model(seed, scorer="softmax") for seed in range(3))
    options = {"distill_temperature": temperature, "teacher_top_k": top_k, "label_smoothing": smoothing}
    found = criterion(teaching_task(*teachers), distill_weight=0.3, **options)
    assert not list(found.parameters()) and not found.state_dict()
    sample = made_sample(student)
    loss, size, logged = found(student, sample)
    probabilities = [
        model.get_normalized_probs(model(**sample["net_input"]), log_probs=False) for model in (student, *teachers)
    ]
    expected = [0.0] * 5
    for row, column in sample["target"].ne(1).nonzero().tolist():
        mine, *theirs = (each[row, column].tolist() for each in probabilities)
        gold = int(sample["target"][row, column])
        one = slow.word_loss(mine, theirs, gold, 0.3, temperature, top_k, smoothing)
        expected = [total + part for total, part in zip(expected, one)]
    names = ("loss", "nll_loss", "distill_loss", "teacher_entropy", "agreement")
    assert [float(logged[name]) for name in names] == pytest.approx(expected, rel=1e-5)
    loss.backward()
    assert all(
        parameter.grad is None and not parameter.requires_grad for model in teachers for parameter in model.parameters()
    )
    assert all(parameter.grad is not None for parameter in student.parameters())


class AnotherKind(torch.nn.Module):
    """A model that returns only probabilities, like fairseq's own models."""

    def __init__(self, model):
        super().__init__()
        self.model = model
        self.get_normalized_probs, self.get_targets = model.get_normalized_probs, model.get_targets

    def forward(self, **net_input):
        return self.model(**net_input)


@pytest.mark.parametrize("temperature, top_k", [(1.0, 0), (2.0, 3)])
def test_a_teacher_or_student_of_another_kind_gives_the_same_loss(temperature, top_k):
    student, teacher = fakes.model(0, scorer="softmax"), fakes.model(1, scorer="softmax")
    sample, losses = made_sample(student), []
    for teaches, learns in ((teacher, student), (AnotherKind(teacher), student), (teacher, AnotherKind(student))):
        found = criterion(teaching_task(teaches), distill_temperature=temperature, teacher_top_k=top_k)
        losses.append(found(learns, sample)[2])
    for other in losses[1:]:
        assert {key: float(value) for key, value in other.items()} == pytest.approx(
            {key: float(value) for key, value in losses[0].items()}, rel=1e-5
        )


def test_the_teacher_is_frozen_also_while_the_student_trains():
    student, teacher = fakes.model(0, scorer="softmax"), fakes.model(1, scorer="softmax", dropout=0.5)
    found = criterion(teaching_task(teacher.train()))
    found.train()
    sample = made_sample(student)
    first, second = (found(student, sample)[0].item() for _ in range(2))
    assert first == second and not teacher.training


class CountingTeacher(Teacher):
    """A teacher that counts its forward passes."""

    runs = 0

    def log_probs(self, net_input):
        self.runs += 1
        return super().log_probs(net_input)


def pairs_batch(model, pairs):
    """A sample of these (source, target) pairs."""
    net_input, target = fakes.batch(model, *([list(side) for side in each] for each in zip(*pairs)))
    return {"net_input": net_input, "target": target, "ntokens": int(target.ne(PADDING).sum())}


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


def test_options_that_the_criterion_refuses():
    student = fakes.model(0, scorer="softmax")
    for scorer in ("summed", "unnormalized"):
        with pytest.raises(UserError, match=f"one.pt has --scorer {scorer} and no probabilities"):
            criterion(teaching_task(fakes.model(1, scorer=scorer)))
    with pytest.raises(UserError, match="needs a task with a teacher"):
        criterion(fakes.FakeTask())
    for name, value in (
        ("distill_weight", -0.1),
        ("distill_temperature", 0.0),
        ("teacher_top_k", -1),
        ("label_smoothing", 1.0),
    ):
        with pytest.raises(UserError, match=f"--{name.replace('_', '-')} is {value}, but must be"):
            criterion(teaching_task(student), **{name: value})
    with pytest.raises(UserError, match="--teacher-top-k is 0, but --teacher-memory stores only"):
        criterion(teaching_task(student), teacher_memory=True)


def test_the_teacher_computes_in_the_type_it_is_given():
    sample = made_sample(fakes.model(0, scorer="softmax"))
    found = {}
    for name in ("auto", "float32", "bfloat16"):
        teacher = Teacher([fakes.model(1, scorer="softmax")], ["one.pt"], name)
        found[name] = teacher.log_probs(sample["net_input"])
        used = {parameter.dtype for parameter in teacher.models[0].parameters()}
        assert used == {torch.bfloat16 if name == "bfloat16" else torch.float32}
        assert found[name].dtype == torch.float32
    assert torch.equal(found["auto"], found["float32"]) and not torch.equal(found["bfloat16"], found["float32"])
    torch.testing.assert_close(found["bfloat16"], found["float32"], rtol=0.05, atol=0.05)
    with pytest.raises(UserError, match="--teacher-dtype is float16, which needs a GPU"):
        Teacher([fakes.model(1)], ["one.pt"], "float16").place(torch.device("cpu"))


@pytest.mark.gpu
def test_the_teacher_is_in_half_precision_on_a_gpu():
    student, teacher = (fakes.model(seed, scorer="softmax").float() for seed in range(2))
    sample = made_sample(student)
    on_cpu = criterion(teaching_task(fakes.model(1, scorer="softmax").float()))(student, sample)[0].item()
    found = criterion(teaching_task(teacher))
    sample = {
        name: {key: part.cuda() for key, part in each.items()} if name == "net_input" else each
        for name, each in sample.items()
    }
    sample["target"] = sample["target"].cuda()
    sample["net_input"]["src_lengths"] = sample["net_input"]["src_lengths"].cpu()
    loss = found(student.cuda(), sample)[0].item()
    assert next(teacher.parameters()).dtype == torch.float16
    assert loss == pytest.approx(on_cpu, rel=1e-2)
    found.teacher.place(torch.device("cpu"))
    assert next(teacher.parameters()).dtype == torch.float32
