"""Reads checkpoints of fairseq: the content of a file, and the model and the task in it."""

import ast
import re
from pathlib import Path
from typing import Any, Callable, Dict, List, Optional, Tuple

from .errors import UserError

# Options that training needs and a trained model does not: BLEU, padded lengths. `compat` drops embedding files.
NOT_NEEDED = {"eval_bleu": False, "num_batch_buckets": 0}

# Options of the models and tasks of fairseq 0.12.2 and fairseq-fixed 0.12.3.1 that reach Python's `eval`.
EVALUATED = set(
    "adaptive_input_cutoff adaptive_softmax_cutoff character_filters conv_aggregator_layers conv_feature_layers "
    "decoder_attention decoder_layers downsample encoder_attention encoder_layers gated_attention left_pad_source "
    "left_pad_target pretrained project_input self_attention".split()
)
LITERAL = (
    ast.Expression,
    ast.Constant,
    ast.List,
    ast.Tuple,
    ast.BinOp,
    ast.Add,
    ast.Mult,
    ast.UnaryOp,
    ast.USub,
    ast.Load,
)
MOST_LAYERS = 1000


def load_state(path: str) -> Dict[str, Any]:
    """The content of a checkpoint. Raises UserError if the file is missing or is no checkpoint of fairseq."""
    import torch

    if not Path(path).is_file():
        raise UserError(f"the checkpoint {path} does not exist")
    try:
        state = torch.load(path, map_location="cpu")
        state["model"].items()
    except Exception as error:
        raise UserError(f"{path} is no checkpoint of fairseq-train: {_reason(error)}") from None
    return state


def _reason(error: Exception) -> str:
    """One line of an error. torch surrounds the reason by advice to load the file without its checks."""
    if isinstance(error, (AttributeError, KeyError, TypeError)):
        return "it holds no parameters of a model"
    text = str(error).rpartition("WeightsUnpickler error: ")[2].strip() or type(error).__name__
    return text.splitlines()[0]


def is_fast_path_copy(name: str) -> bool:
    """Whether a parameter is a copy that fairseq 0.12.2 keeps for the fast path of a transformer encoder layer.

    Loading a checkpoint makes such copies anew from the weights. No training changes them.
    """
    return re.search(r"\.layers\.\d+\.(in_proj|out_proj|fc1|fc2)_(weight|bias)$", name) is not None


def distinct_parameters(state: Dict[str, Any]) -> List[Tuple[Tuple[str, ...], Any]]:
    """The parameters of a checkpoint, each once, with all its names.

    A checkpoint from a GPU or from 16-bit training holds a copy of a tied parameter under each of its names. Copies are
    recognised by their values, since parameters that are not tied never have the same values. They are tied again.
    Zeros alone say nothing: matrices that are zero are tied only where they share their memory. The copies of weights
    that fairseq 0.12.2 keeps for a fast path are left out.
    """
    found: List[Tuple[List[str], Any]] = []
    for name, tensor in state["model"].items():
        if is_fast_path_copy(name):
            continue
        for names, other in found if tensor.dim() > 1 else []:
            same = other.shape == tensor.shape and bool((other == tensor).all())
            if same and (other.data_ptr() == tensor.data_ptr() or bool(other.any())):
                names.append(name)
                state["model"][name] = other
                break
        else:
            found.append(([name], tensor))
    return [(tuple(names), tensor) for names, tensor in found]


def config_of(state: Dict[str, Any], part: str) -> Any:
    """The options in one `part` of a checkpoint ("model", "task"); all options if the checkpoint has the old form."""
    return (state.get("cfg") or {}).get(part) or state.get("args")


def option(config: Any, name: str, default: Any = None) -> Any:
    """One option of a config, which is a dict or an argparse.Namespace."""
    return config.get(name, default) if hasattr(config, "get") else getattr(config, name, default)


def model_class(state: Dict[str, Any]) -> Optional[type]:
    """The class of a checkpoint's model; None if its architecture is not registered."""
    from fairseq.models import ARCH_MODEL_REGISTRY, MODEL_REGISTRY

    config = config_of(state, "model")
    names = [option(config, "_name"), option(config, "arch")]
    models = [
        registry[name] for name in names for registry in (MODEL_REGISTRY, ARCH_MODEL_REGISTRY) if name in registry
    ]
    return models[0] if models else None


def load_model(
    path: str,
    data: Optional[str],
    name: Optional[str] = None,
    data_option: str = "the data folder",
    check: Optional[Callable[[Any], None]] = None,
) -> Tuple[Any, Any]:
    """Loads the model of a checkpoint, and the task of its training.

    Args:
        path: of the checkpoint.
        data: folder with the dictionaries; None stands for the folder of its training.
        name: what messages call the checkpoint; None: its path.
        data_option: what messages call the folder with the dictionaries.
        check: called with the task before the model is built, so that it can name a wrong dictionary by its symbols.

    Raises:
        UserError: the checkpoint, its dictionaries or its model cannot be loaded.
    """
    from fairseq import checkpoint_utils

    name = path if name is None else name
    overrides = {**NOT_NEEDED, **({"data": data} if data else {})}
    state, config = _read(path, name, overrides)
    task = _load_task(name, config, f"{'correct' if data else 'if they are elsewhere now, give'} {data_option}")
    if check is not None:
        check(task)
    try:
        (model,), _, _ = checkpoint_utils.load_model_ensemble_and_task([path], overrides, task, state=state)
    except Exception as error:
        hint = ": prepare the data with the checkpoint's own dictionaries" if "size mismatch" in str(error) else ""
        raise UserError(f"{name} cannot be loaded ({_first_line(error)}){hint}") from None
    return model, task


def _read(path: str, name: str, overrides: Dict[str, Any]) -> Tuple[Dict[str, Any], Any]:
    """The content of a checkpoint and its config. Raises UserError if it cannot be read, or holds code as an option."""
    from fairseq import checkpoint_utils
    from fairseq.dataclass.utils import convert_namespace_to_omegaconf

    if not Path(path).is_file():
        raise UserError(f"the checkpoint {path} does not exist")
    try:
        state = checkpoint_utils.load_checkpoint_to_cpu(path, overrides)
        old = state.get("args")
        config = state["cfg"] if old is None else convert_namespace_to_omegaconf(old)
    except Exception as error:  # torch, pickle, zip and fairseq each raise their own
        raise UserError(f"{name} cannot be read ({_first_line(error)})") from None
    for part in (config.model, config.task):
        _refuse_code(name, part)
    return state, config


def _refuse_code(name: str, options: Any) -> None:
    """Raises UserError for an option that fairseq evaluates as Python, unless it is a literal or a list of layers."""
    for option_name in sorted(EVALUATED):
        value = option(options, option_name)
        if isinstance(value, str) and value and not _is_literal(value):
            raise UserError(
                f"{name} has {option_name} {value[:80]!r}, which fairseq would run as Python code: use no checkpoint "
                "of unknown origin"
            )


def _is_literal(text: str) -> bool:
    """Whether an expression holds literals alone, and a list is repeated a few times at most: "[(512, 3)] * 20"."""
    try:
        nodes = list(ast.walk(ast.parse(text, mode="eval")))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return False
    products = [node for node in nodes if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Mult)]
    sides = [side for product in products for side in (product.left, product.right)]
    return all(isinstance(node, LITERAL) for node in nodes) and all(
        isinstance(side, ast.List) or (isinstance(side, ast.Constant) and side.value in range(MOST_LAYERS))
        for side in sides
    )


def _load_task(name: str, config: Any, remedy: str) -> Any:
    """The task of a training, with its dictionaries. Raises UserError that ends with the remedy."""
    from fairseq import tasks

    try:
        return tasks.setup_task(config.task)
    except Exception as error:
        folder = getattr(config.task, "data", None)
        raise UserError(
            f"{name}: its task with the dictionaries in {folder} cannot be loaded ({_first_line(error)}): {remedy}"
        ) from None


def _first_line(error: Exception) -> str:
    first = (str(error).strip().splitlines() or ["no reason given"])[0]
    return f"{type(error).__name__}: {first}"
