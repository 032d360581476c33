"""A checkpoint with its own task, for reading states."""

from pathlib import Path
from typing import Any, NamedTuple, Optional

import torch
from fairseq import checkpoint_utils
from fairseq.models.lstm import LSTMModel
from fairseq.models.lstm_lm import LSTMLanguageModel
from fairseq.tasks.language_modeling import LanguageModelingTask
from fairseq.tasks.translation import TranslationTask

from ..errors import BadInput
from ..models import BsoLSTMModel
from .capture_bso_lstm import BsoLSTMReader
from .capture_fairseq_lstm import FairseqLSTMLanguageModelReader, FairseqLSTMReader
from .readers import StateReader

READERS = (
    ("bso_lstm", BsoLSTMModel, BsoLSTMReader),
    ("lstm", LSTMModel, FairseqLSTMReader),
    ("lstm_lm", LSTMLanguageModel, FairseqLSTMLanguageModelReader),
)

# What training needed and reading states does not: files that may be gone, a generator for BLEU, padded lengths.
NOT_NEEDED = {"encoder_embed_path": None, "decoder_embed_path": None, "eval_bleu": False, "num_batch_buckets": 0}


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
    model, task = _load_model(path, data)
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


def _load_model(path: str, data: Optional[str]):
    overrides = {**NOT_NEEDED, **({"data": data} if data else {})}
    try:
        (model,), _, task = checkpoint_utils.load_model_ensemble_and_task([path], overrides)
    except FileNotFoundError as fault:
        way = "correct the data folder" if data else "if they are elsewhere now, give the data folder"
        raise BadInput(f"the dictionaries of {path} cannot be loaded ({fault}): {way}") from None
    except Exception as fault:  # torch, pickle, zip and fairseq each have their own
        first = (str(fault).strip().splitlines() or ["no reason given"])[0]
        hint = ": prepare the data with the checkpoint's own dictionaries" if "size mismatch" in str(fault) else ""
        raise BadInput(f"{path} cannot be loaded ({type(fault).__name__}: {first}){hint}") from None
    return model, task
