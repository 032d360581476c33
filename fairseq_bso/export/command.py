"""`fairseq-bso export`: writes a trained `bso_lstm` as one file that runs without fairseq and torch, or as ONNX."""

import argparse
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Dict

from bso_runtime import model_file, weights
from bso_runtime.config import ModelConfig
from bso_runtime.model_file import Model

from ..checkpoints import config_of, load_state, option
from ..errors import UserError
from ..files import atomic_write, claim
from ..logs import show_logs
from ..old_names import OldName
from .vocabularies import vocabularies_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the checkpoint, the output, its format, and the folder of the dictionaries."""
    parser.add_argument("checkpoint", help="checkpoint of fairseq-train")
    parser.add_argument("output", help="the file to write")
    parser.add_argument(
        "--format",
        choices=("compact", "onnx"),
        default="compact",
        help="onnx: OUTPUT.encoder.onnx and OUTPUT.step.onnx, one step of the decoder (default: %(default)s)",
    )
    parser.add_argument(
        "--dtype",
        choices=model_file.DTYPES,
        default="float32",
        help="number format of the weights; int8 has a scale for each row, and ONNX Runtime multiplies in it (default: "
        "%(default)s)",
    )
    parser.add_argument(
        "--numbers",
        dest="dtype",
        choices=model_file.DTYPES,
        action=OldName,
        default=argparse.SUPPRESS,
        help=argparse.SUPPRESS,
    )
    parser.add_argument("--data", help="folder with the dictionaries (default: the one that the checkpoint names)")
    for side in ("source", "target"):
        language = f"language of the {side} dictionary dict.LANG.txt (default: the one that the checkpoint names)"
        parser.add_argument(f"--{side}-lang", metavar="LANG", help=language)
    parser.add_argument("--sentencepiece", help="subword model of both sides, which is put into the file")
    parser.add_argument(
        "--shortlist",
        nargs="?",
        const="",
        metavar="FILE",
        help="put a shortlist into the file, for `translate --shortlist` (default: shortlist.SOURCE-TARGET beside the "
        "dictionaries)",
    )


def run(arguments: argparse.Namespace) -> int:
    """Writes the file and prints its size. Returns the exit status.

    Raises:
        UserError: the model is another one, or a file is missing, does not fit or cannot be written.
    """
    show_logs()
    state = load_state(arguments.checkpoint)
    tensors = {name: tensor for name, tensor in state["model"].items() if tensor.is_floating_point()}
    if not weights.is_bso_lstm(tensors):
        raise UserError(f"{arguments.checkpoint} holds another architecture: only bso_lstm can be exported")
    from .zero_units import without_zero_units  # needs torch, the help does not

    tensors, units = without_zero_units(state, tensors)
    config = ModelConfig(**weights.structure_of(tensors), **_options(state))
    vocabularies = vocabularies_of(arguments, state, weights.embedding_sizes(tensors))
    arrays = {name: tensor.float().numpy() for name, tensor in tensors.items()}
    _check_values(arrays, arguments)
    write = _write_onnx if arguments.format == "onnx" else _write_compact
    with claim(Path(arguments.output), "output"):
        write(arguments, Model(config, arrays, vocabularies))
    if units:
        print("without zero units: " + ", ".join(f"{name} {kept} of {size}" for name, (kept, size) in units.items()))
    return 0


def _check_values(arrays: Dict[str, Any], arguments: argparse.Namespace) -> None:
    """Raises UserError for weights that are not finite, or too large for the number format."""
    import numpy

    largest = numpy.finfo(numpy.float16).max if arguments.dtype == "float16" else numpy.finfo(numpy.float32).max
    for name, array in arrays.items():
        if not numpy.isfinite(array).all():
            raise UserError(
                f"{arguments.checkpoint}: {name} holds NaN or infinite weights; the training diverged: export an "
                "earlier checkpoint"
            )
        if array.ndim > 1 and array.size and numpy.abs(array).max() > largest:
            raise UserError(
                f"{arguments.checkpoint}: {name} holds {numpy.abs(array).max():.3g}, but float16 ends at "
                f"{largest:.0f}: choose --dtype float32 or int8"
            )


def _write_compact(arguments: argparse.Namespace, model: Model) -> None:
    """Writes the compact file and prints its size."""
    try:
        size = model_file.write(Path(arguments.output), model, arguments.dtype)
    except OSError as error:
        raise UserError(f"{arguments.output} cannot be written: {error.strerror}") from None
    distinct = {array.tobytes(): array for array in model.tensors.values()}.values()
    plain = sum(array.nbytes for array in distinct)
    nonzero = sum(int((array != 0).sum()) for array in distinct)
    print(f"{arguments.output}: {size:,} bytes, {arguments.dtype}; {nonzero:,} of {plain // 4:,} weights are not zero")
    print(f"the weights in float32 take {plain:,} bytes, {plain / size:.1f} times as many")


def _write_onnx(arguments: argparse.Namespace, model: Model) -> None:
    """Writes the two ONNX files and prints their sizes."""
    if arguments.dtype == "float16":
        raise UserError("--dtype float16 is for --format compact: choose float32 or int8 for --format onnx")
    try:
        import onnx  # noqa: F401
    except ImportError:
        raise UserError("--format onnx needs the package onnx: pip install onnx") from None
    from .onnx_graphs import graphs

    contents = {Path(f"{arguments.output}.{name}.onnx"): content for name, content in graphs(model, arguments.dtype)}
    path = Path(arguments.output)
    try:
        with ExitStack() as both:  # neither file gets its name before both are on the disk
            for path, content in contents.items():
                file = both.enter_context(atomic_write(path))
                file.write(content)
                file.flush()
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror}") from None
    for path, content in contents.items():
        print(f"{path}: {len(content):,} bytes")


def _options(state: Dict[str, Any]) -> Dict[str, Any]:
    """The entries of a ModelConfig that come from the options of a checkpoint."""
    config, task = config_of(state, "model"), config_of(state, "task")
    return {
        "attention": str(option(config, "attention", "general")),
        "residual": bool(option(config, "residual", False)),
        "scorer": str(option(config, "scorer", "softmax")),
        "successors": str(option(task, "successors", "none")),
        "max_target_positions": int(option(config, "max_target_positions") or 1024),
    }
