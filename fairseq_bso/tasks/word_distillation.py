"""``--task word_distillation``: translation with a teacher beside the student (Kim & Rush 2016, section 3.1)."""

import os
from dataclasses import dataclass, field
from typing import Optional

from fairseq import utils
from fairseq.dataclass import ChoiceEnum
from fairseq.tasks import register_task

from ..errors import BadInput
from ..teacher import DTYPES, Teacher, load_teacher
from .bso_translation import BsoTranslationConfig, BsoTranslationTask


@dataclass
class WordDistillationConfig(BsoTranslationConfig):
    teacher_path: Optional[str] = field(
        default=None,
        metadata={"help": "the teacher's checkpoint; several, separated by colons, are an ensemble"},
    )
    teacher_data: Optional[str] = field(
        default=None,
        metadata={"help": "folder with the teacher's dictionaries, if not where it was trained any more"},
    )
    teacher_dtype: ChoiceEnum(list(DTYPES)) = field(  # type: ignore[valid-type]
        default="auto",
        metadata={
            "help": "type of the teacher's numbers; auto: float16 on a GPU, float32 on a CPU (bfloat16 is quicker on "
            "CPUs that compute in it)"
        },
    )


@register_task("word_distillation", dataclass=WordDistillationConfig)
class WordDistillationTask(BsoTranslationTask):
    """Loads the teacher when it is first asked for: decoding with a student needs none."""

    cfg: WordDistillationConfig
    _teacher: Optional[Teacher] = None

    @property
    def teacher(self) -> Teacher:
        """The frozen teacher. Raises BadInput where there is none that fits."""
        if self._teacher is None:
            given = self.cfg
            self._teacher = load_teacher(given.teacher_path, given.teacher_data, self, str(given.teacher_dtype))
        return self._teacher

    def max_positions(self):
        """Of the task, and of its teacher once that is loaded."""
        own = super().max_positions()
        return own if self._teacher is None else utils.resolve_max_positions(own, self._teacher.max_positions())

    def load_dataset(self, split, epoch=1, combine=False, **kwargs):
        """Loads a split; raises BadInput if it is that for training, and empty."""
        if split == self.cfg.train_subset:
            self._refuse_empty(split)
        super().load_dataset(split, epoch, combine, **kwargs)

    def _refuse_empty(self, split: str) -> None:
        for folder in utils.split_paths(self.cfg.data):
            for pair in (self.cfg.source_lang, self.cfg.target_lang), (self.cfg.target_lang, self.cfg.source_lang):
                for language in pair:
                    path = os.path.join(folder, f"{split}.{pair[0]}-{pair[1]}.{language}")
                    for file in (path, path + ".bin"):  # of --dataset-impl raw, of all others
                        if os.path.isfile(file) and os.path.getsize(file) == 0:
                            raise BadInput(f"the training set is empty: {file} holds no sentence")
