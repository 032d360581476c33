"""Loads a checkpoint, with the reader of its architecture."""

from typing import Optional

import torch
from fairseq.models.lstm import LSTMModel
from fairseq.models.lstm_lm import LSTMLanguageModel
from fairseq.tasks.language_modeling import LanguageModelingTask
from fairseq.tasks.translation import TranslationTask

from ...checkpoints import load_model
from ...errors import UserError
from ...models.bso_lstm import BsoLSTMModel
from .bso_lstm_reader import BsoLSTMReader
from .fairseq_lstm_reader import FairseqLSTMLanguageModelReader, FairseqLSTMReader
from .state_reader import LoadedModel

__all__ = ["READERS", "load"]

READERS = (
    ("bso_lstm", BsoLSTMModel, BsoLSTMReader),
    ("lstm", LSTMModel, FairseqLSTMReader),
    ("lstm_lm", LSTMLanguageModel, FairseqLSTMLanguageModelReader),
)
"""name of an architecture, class of its model, reader of its states"""


def load(checkpoint: str, data: Optional[str], gates: bool = False, cpu: bool = False) -> LoadedModel:
    """Loads a checkpoint, with the reader of its architecture.

    Args:
        checkpoint: a checkpoint of fairseq-train.
        data: folder with the dictionaries; None: the folder of its training.
        gates: whether the reader returns the gates.
        cpu: use no GPU.

    Raises:
        UserError: the checkpoint is missing or damaged, its architecture or task is not supported, or it does not fit
            the dictionaries.
    """
    model, task = load_model(checkpoint, data)
    fitting = [(name, reader) for name, kind, reader in READERS if isinstance(model, kind)]
    if not fitting:
        raise UserError(
            f"{checkpoint} holds a {type(model).__name__}, of which states cannot be captured: supported are the "
            f"architectures {', '.join(name for name, _, _ in READERS)} and their named sizes"
        )
    architecture, reader = fitting[0]
    supported = LanguageModelingTask if architecture == "lstm_lm" else TranslationTask
    if not isinstance(task, supported):
        raise UserError(
            f"{checkpoint} was trained with {type(task).__name__}, whose data cannot be read here: supported are "
            "translation and what derives from it, and for lstm_lm language_modeling"
        )
    device = torch.device("cuda" if torch.cuda.is_available() and not cpu else "cpu")
    model = model.float().to(device).eval().requires_grad_(False)
    return LoadedModel(architecture, reader(model, gates), task, device)
