"""Stand-ins for a task with a teacher, the criterion of word distillation and its samples."""

from fairseq_bso.distill.criterion import WordDistillationCriterion
from fairseq_bso.distill.teacher import Teacher

from . import fakes

PADDING, END = 1, 2


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


def pairs_batch(model, pairs):
    """A sample of these (source, target) pairs."""
    net_input, target = fakes.batch(model, *([list(side) for side in each] for each in zip(*pairs)))
    return {"net_input": net_input, "target": target, "ntokens": int(target.ne(PADDING).sum())}
