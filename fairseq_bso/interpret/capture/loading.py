"""A checkpoint with its own task, for reading states."""

from pathlib import Path
from typing import Any, NamedTuple, Optional

import torch
from fairseq.models.lstm import LSTMModel
from fairseq.models.lstm_lm import LSTMLanguageModel
from fairseq.tasks.language_modeling import LanguageModelingTask
from fairseq.tasks.translation import TranslationTask

from ...checkpoints import load_model
from ...errors import BadInput
from ...models.bso_lstm import BsoLSTMModel
from .bso_lstm_reader import BsoLSTMReader
from .fairseq_lstm_reader import FairseqLSTMLanguageModelReader, FairseqLSTMReader
from .state_reader import StateReader

READERS = (
    ("bso_lstm", BsoLSTMModel, BsoLSTMReader),
    ("lstm", LSTMModel, FairseqLSTMReader),
    ("lstm_lm", LSTMLanguageModel, FairseqLSTMLanguageModelReader),
)


class Loaded(NamedTuple):
    """A model that states can be read of."""

    architecture: str
    """a name of READERS"""
    reader: StateReader
    task: Any
    """the one it was trained on"""
    device: torch.device


def load(path: str, data: Optional[str], gates: bool, cpu: bool) -> Loaded:
    """Loads a checkpoint.

    Args:
        path: of the checkpoint.
        data: folder with the dictionaries; None: where it was trained.
        gates: whether gates are wanted.
        cpu: use no GPU.

    Raises:
        BadInput: a checkpoint that is missing, damaged, of an architecture or task that is not supported, or does not
            fit the dictionaries.
    """
    if not Path(path).is_file():
        raise BadInput(f"the checkpoint {path} does not exist")
    model, task = load_model(path, data)
    fitting = [(name, reader) for name, kind, reader in READERS if isinstance(model, kind)]
    if not fitting:
        raise BadInput(
            f"{path} holds a {type(model).__name__}, of which states cannot be captured: supported are the "
            f"architectures {', '.join(name for name, _, _ in READERS)} and their named sizes"
        )
    architecture, reader = fitting[0]
    wanted = LanguageModelingTask if architecture == "lstm_lm" else TranslationTask
    if not isinstance(task, wanted):
        raise BadInput(
            f"{path} was trained with {type(task).__name__}, whose data cannot be read here: supported are translation "
            "and what derives from it, and for lstm_lm language_modeling"
        )
    device = torch.device("cuda" if torch.cuda.is_available() and not cpu else "cpu")
    model = model.float().to(device).eval().requires_grad_(False)
    return Loaded(architecture, reader(model, gates), task, device)
