"""``--eval-length-beams``: the ratio of output to reference length at several beams, in validation."""

import json
from argparse import Namespace
from dataclasses import dataclass, field
from typing import Any, Dict, List

import torch
from fairseq.dataclass import FairseqDataclass
from torch import Tensor

from ..compat import metrics
from ..errors import UserError


@dataclass
class LengthRatioConfig(FairseqDataclass):
    """The option, for the config of a task to inherit."""

    eval_length_beams: str = field(
        default="",
        metadata={
            "help": "beams, separated by commas (1,5,10). Validation also decodes with each beam and logs "
            "length_ratio_beam1 and so on: the words of all outputs divided by the words of all references. "
            "--eval-bleu-args has the other options of decoding"
        },
    )


def beams_of(text: str) -> List[int]:
    """The beams of ``--eval-length-beams``.

    Raises:
        UserError: for anything other than distinct numbers from 1 on.
    """
    parts = [part.strip() for part in text.split(",")] if text.strip() else []
    if not all(part.isdecimal() and int(part) >= 1 for part in parts) or len({*map(int, parts)}) < len(parts):
        raise UserError(
            f"--eval-length-beams is {text!r}, but must be different whole numbers of at least 1, separated by "
            "commas, such as 1,5,10"
        )
    return [int(part) for part in parts]


class LengthRatioMixin:
    """Adds the ratios to a translation task; it precedes the task among the bases. Without beams it does nothing."""

    def __init__(self, cfg, *args, **kwargs) -> None:
        super().__init__(cfg, *args, **kwargs)
        self.length_beams = beams_of(cfg.eval_length_beams)
        self.length_generators: Dict[int, Any] = {}

    def build_model(self, cfg, from_checkpoint=False):
        """The task's model. A generator for each beam follows the model's scorer and the task's constraint."""
        model = super().build_model(cfg, from_checkpoint)
        for beam in self.length_beams:
            options = {**json.loads(self.cfg.eval_bleu_args or "{}"), "beam": beam, "nbest": 1}
            self.length_generators[beam] = self.build_generator([model], Namespace(**options))
        return model

    def valid_step(self, sample, model, criterion):
        """The task's step; it also logs the number of words in references and in the outputs of each beam."""
        loss, sample_size, logged = super().valid_step(sample, model, criterion)
        if self.length_beams:
            logged["_length_reference"] = self._words(sample["target"])
        for beam, generator in self.length_generators.items():
            found = self.inference_step(generator, [model], sample)
            logged[f"_length_beam{beam}"] = sum(self._words(hypotheses[0]["tokens"]) for hypotheses in found)
        return loss, sample_size, logged

    def _words(self, tokens: Tensor) -> int:
        """The number of words: tokens that are neither ``</s>`` nor padding."""
        dictionary = self.target_dictionary
        return int(torch.sum((tokens != dictionary.eos()) & (tokens != dictionary.pad())))

    def reduce_metrics(self, logging_outputs, criterion) -> None:
        """Logs the task's metrics, and ratios of sums over all workers and batches."""
        super().reduce_metrics(logging_outputs, criterion)
        names = ["_length_reference", *(f"_length_beam{beam}" for beam in self.length_beams)]
        totals = {name: sum(float(output.get(name, 0)) for output in logging_outputs) for name in names}
        if totals["_length_reference"] == 0:  # training
            return
        for name, total in totals.items():
            metrics.log_scalar(name, total)
        for name in names[1:]:

            def ratio(meters, name=name) -> float:
                return round(meters[name].sum / meters["_length_reference"].sum, 4)

            metrics.log_derived(f"length_ratio{name[len('_length') :]}", ratio)
