"""The criterion with a teacher."""

import pytest
import torch
from reference import distillation as slow
from reference import fakes
from reference.teaching import criterion, made_sample, teaching_task

from fairseq_bso.distill.teacher import Teacher
from fairseq_bso.errors import UserError


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
