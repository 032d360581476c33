"""Checkpoints of fairseq: what a file holds, and the model and task in it."""

from pathlib import Path
from typing import Any, Dict, List, Optional, Tuple

from .errors import BadInput

# What training needed and a trained model does not: files that may be gone, a generator for BLEU, padded lengths.
NOT_NEEDED = {"encoder_embed_path": None, "decoder_embed_path": None, "eval_bleu": False, "num_batch_buckets": 0}


def load_state(path: str) -> Dict[str, Any]:
    """What a checkpoint's file holds. Raises BadInput if it is missing or none of fairseq's."""
    import torch

    if not Path(path).is_file():
        raise BadInput(f"the checkpoint {path} does not exist")
    try:
        state = torch.load(path, map_location="cpu")
        state["model"].items()
    except Exception as fault:
        raise BadInput(f"{path} is no checkpoint of fairseq-train: {fault}") from None
    return state


def distinct_parameters(state: Dict[str, Any]) -> List[Tuple[Tuple[str, ...], Any]]:
    """The tensors of a checkpoint with all their names. Tied parameters are written out one by one where they come from
    a GPU or from a training in 16 bits, but hold the same numbers, which parameters that are not tied never do."""
    found: List[Tuple[List[str], Any]] = []
    for name, tensor in state["model"].items():
        for names, other in found if tensor.dim() > 1 else []:
            if other.shape == tensor.shape and bool((other == tensor).all()):
                names.append(name)
                state["model"][name] = other
                break
        else:
            found.append(([name], tensor))
    return [(tuple(names), tensor) for names, tensor in found]


def config_of(state: Dict[str, Any], part: str) -> Any:
    """The options of a checkpoint: of its `part` ("model", "task"), or all of them in a checkpoint of old form."""
    return (state.get("cfg") or {}).get(part) or state.get("args")


def option(config: Any, name: str, default: Any = None) -> Any:
    """An option of a checkpoint's config, which is a dict or an argparse.Namespace."""
    return config.get(name, default) if hasattr(config, "get") else getattr(config, name, default)


def model_class(state: Dict[str, Any]) -> Optional[type]:
    """The class of a checkpoint's model; None where its architecture is not registered."""
    from fairseq.models import ARCH_MODEL_REGISTRY, MODEL_REGISTRY

    config = config_of(state, "model")
    names = [option(config, "_name"), option(config, "arch")]
    models = [
        registry[name] for name in names for registry in (MODEL_REGISTRY, ARCH_MODEL_REGISTRY) if name in registry
    ]
    return models[0] if models else None


def load_model(path: str, data: Optional[str]) -> Tuple[Any, Any]:
    """A checkpoint's model and the task that it was trained on.

    Args:
        path: of the checkpoint.
        data: folder with the dictionaries; None: where it was trained.

    Raises:
        BadInput: it cannot be loaded.
    """
    from fairseq import checkpoint_utils

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
