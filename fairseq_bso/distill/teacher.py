"""The teacher: a trained model or an ensemble, frozen."""

import logging
import os
from typing import Any, Dict, List, Optional, Tuple

import torch
from fairseq import utils
from torch import Tensor, nn

from ..checkpoints import load_model
from ..decoding.unnormalized import prefix_score_of
from ..errors import UserError
from ..search.scorer import Scorer
from .teacher_distribution import mixture

logger = logging.getLogger(__name__)

DTYPES: Dict[str, Optional[torch.dtype]] = {
    "auto": None,
    "float32": torch.float32,
    "float16": torch.float16,
    "bfloat16": torch.bfloat16,
}


class Teacher:
    """Frozen models. A teacher is no torch module, so its parameters enter no checkpoint and no optimizer.

    The models move to the device of their inputs.

    Args:
        models: encoder-decoder models.
        paths: the checkpoint of each.
        dtype: a name of DTYPES; "auto" is float16 on a GPU and float32 on a CPU.
    """

    def __init__(self, models: List[Any], paths: List[str], dtype: str = "auto") -> None:
        self.paths, self.dtype = paths, dtype
        self.models = [model.eval().requires_grad_(False) for model in models]
        self.device: Optional[torch.device] = None

    def place(self, device: torch.device) -> List[Any]:
        """Moves the models to a device and returns them. Raises UserError for float16 on a CPU."""
        if device != self.device:
            dtype = dtype_on(device, self.dtype)
            for model in self.models:
                model.to(device, dtype)
            self.device = device
        return self.models

    def check_probabilities(self) -> None:
        """Raises UserError for a model without probabilities."""
        for path, model in zip(self.paths, self.models):
            score = prefix_score_of(model)
            if not score.normalized:
                raise UserError(
                    f"the teacher {path} has --scorer {score.name} and no probabilities for word-level distillation: "
                    "use a softmax model, or distil its output with --task sequence_distillation and --criterion "
                    "cross_entropy"
                )

    @torch.no_grad()
    def log_probs(self, net_input: Dict[str, Any]) -> Tensor:
        """(B, T, V) float32 log-probabilities by teacher forcing; for an ensemble, those of the mean probability."""
        device = net_input["src_tokens"].device
        models = self.place(device)
        with torch.autocast(device.type, enabled=False):
            members = [model.get_normalized_probs(model(**net_input), log_probs=True) for model in models]
        return mixture(members)

    @torch.no_grad()
    def outputs(self, net_input: Dict[str, Any]) -> Optional[List[Tuple[Tensor, Scorer]]]:
        """The attentional vectors (B, T, H) by teacher forcing and the scorer of each model.

        None if one of the models has none.
        """
        if any(getattr(model, "prefix_score", None) is None for model in self.models):
            return None
        models = self.place(net_input["src_tokens"].device)
        return [model(**net_input, word_loss=lambda outputs, scorer: (outputs, scorer)) for model in models]

    def max_positions(self) -> Tuple[int, int]:
        """The longest source and target that every model takes."""
        return utils.resolve_max_positions(*[model.max_positions() for model in self.models])


def dtype_on(device: torch.device, name: str) -> torch.dtype:
    """The type that `--teacher-dtype` names on a device. Raises UserError for float16 on a CPU."""
    on_gpu = device.type == "cuda"
    if name == "float16" and not on_gpu:
        raise UserError(
            "--teacher-dtype is float16, which needs a GPU: give float32, or bfloat16 if the CPU supports it"
        )
    return DTYPES[name] or (torch.float16 if on_gpu else torch.float32)


def load_teacher(paths: Optional[str], data: Optional[str], student: Any, dtype: str = "auto") -> Teacher:
    """Loads the teacher that `--teacher-path` names.

    Args:
        paths: checkpoints, separated by colons.
        data: the folder with the teacher's dictionaries; None: the folder of its training.
        student: the student's task. Its dictionaries and languages must equal the teacher's.
        dtype: of its parameters, a name of DTYPES.

    Raises:
        UserError: if there is no path; if a checkpoint is missing, damaged or no encoder-decoder; if dictionaries
            differ or cannot be found.
    """
    if not paths:
        raise UserError("distillation needs a teacher: give --teacher-path CHECKPOINT (several, separated by colons)")
    checkpoints = utils.split_paths(paths)
    for path in checkpoints:
        if not os.path.isfile(path):
            raise UserError(f"the teacher's checkpoint {path} does not exist: correct --teacher-path")
    models = [_load_member(path, data, student) for path in checkpoints]
    for path, model in zip(checkpoints, models):
        size = sum(parameter.numel() for parameter in model.parameters())
        logger.info(f"teacher {path}: {type(model).__name__}, {size:,} parameters")
    return Teacher(models, checkpoints, dtype)


def _load_member(path: str, data: Optional[str], student: Any) -> nn.Module:
    """Loads one model and compares its dictionaries with the student's."""
    model, _ = load_model(
        path,
        data,
        name=f"the teacher {path}",
        data_option="--teacher-data, a folder with the student's dictionaries",
        check=lambda task: _compare(path, task, student),
    )
    if not hasattr(model, "encoder") or not hasattr(model, "decoder"):
        raise UserError(f"the teacher {path} is a {type(model).__name__}, but must be an encoder-decoder model")
    return model


def _compare(path: str, teachers: Any, student: Any) -> None:
    """Raises UserError unless languages, padding and dictionaries of the two tasks are the same."""
    if teachers.source_dictionary is None or teachers.target_dictionary is None:
        raise UserError(f"the teacher {path} has one dictionary, but must be an encoder-decoder model")
    pairs = [
        tuple(getattr(task.cfg, name, None) for name in ("source_lang", "target_lang")) for task in (teachers, student)
    ]
    if None not in pairs[0] and pairs[0] != pairs[1]:
        raise UserError(
            f"the teacher {path} translates {pairs[0][0]} to {pairs[0][1]}, the student {pairs[1][0]} to "
            f"{pairs[1][1]}: use a teacher of the same pair, or correct --source-lang and --target-lang"
        )
    for side in ("source", "target"):
        pads = [bool(getattr(task.cfg, f"left_pad_{side}", side == "source")) for task in (teachers, student)]
        if pads[0] != pads[1]:
            raise UserError(
                f"the teacher {path} was trained with --left-pad-{side} {pads[0]}, the student has {pads[1]}: give "
                "both the same value"
            )
        dictionaries = [getattr(task, f"{side}_dictionary") for task in (teachers, student)]
        for index in range(max(map(len, dictionaries))):
            words = [repr(each[index]) if index < len(each) else "no symbol" for each in dictionaries]
            if words[0] != words[1]:
                raise UserError(
                    f"the {side} dictionaries of teacher {path} and student differ, first at symbol {index}: the "
                    f"teacher has {words[0]}, the student {words[1]}: prepare the student's data with the teacher's "
                    "dictionaries (fairseq-preprocess --srcdict and --tgtdict)"
                )
