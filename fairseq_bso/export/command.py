"""`fairseq-bso export`: a trained `bso_lstm` as one compact file that runs without fairseq and torch, or as ONNX."""

import argparse
from pathlib import Path
from typing import Any, Dict

from ..checkpoints import config_of, load_state, option
from ..errors import BadInput
from ..files import atomic_write
from ..logs import show_logs

NAME = "export"
HELP = "Write a trained bso_lstm as one compact file for `fairseq-bso translate`, or as ONNX."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The checkpoint, the file to write, and in which numbers."""
    parser.add_argument("checkpoint", help="of fairseq-train")
    parser.add_argument("output", help="the file to write")
    parser.add_argument(
        "--format",
        choices=("compact", "onnx"),
        default="compact",
        help="onnx: OUTPUT.encoder.onnx and OUTPUT.step.onnx, one step of the decoder (default: %(default)s)",
    )
    parser.add_argument(
        "--numbers",
        choices=("float32", "float16", "int8"),
        default="float32",
        help="how weights are kept; int8 with a scale for each row (default: %(default)s)",
    )
    parser.add_argument("--data", help="folder with the dictionaries (default: the one that the checkpoint names)")
    for side in ("source", "target"):
        language = f"of the {side} dictionary's name, dict.LANG.txt (default: as the checkpoint names it)"
        parser.add_argument(f"--{side}-lang", metavar="LANG", help=language)
    parser.add_argument("--sentencepiece", help="subword model of both sides, to be put into the file")


def run(arguments: argparse.Namespace) -> int:
    """Writes the file and prints its size. Returns the exit status.

    Raises:
        BadInput: for another model, files that are missing, or one that cannot be written.
    """
    from bso_runtime import model_file as container

    show_logs()
    state = load_state(arguments.checkpoint)
    tensors = {name: one for name, one in state["model"].items() if one.is_floating_point()}
    if "decoder.first_layer" not in tensors:
        raise BadInput(f"{arguments.checkpoint} holds another architecture: only bso_lstm can be exported")
    facts = _facts(state, tensors)
    texts = _texts(arguments, state)
    for side, name in (("source", "encoder.embedding.weight"), ("target", "decoder.embedding.weight")):
        symbols = texts[side].count(b"\n") + 1
        if symbols != len(tensors[name]):
            raise BadInput(
                f"the {side} dictionary has {symbols} symbols, but the checkpoint was trained with "
                f"{len(tensors[name])}: give the folder of its own data with --data"
            )
    if arguments.sentencepiece:
        texts["sentencepiece"] = _subword_model(arguments.sentencepiece, texts)
    arrays = {name: one.float().numpy() for name, one in tensors.items()}
    _refuse_what_does_not_fit(arrays, arguments)
    if arguments.format == "onnx":
        return _write_onnx(arguments, facts, arrays, texts)
    try:
        size = container.write(Path(arguments.output), facts, arrays, texts, arguments.numbers)
    except OSError as fault:
        raise BadInput(f"{arguments.output} cannot be written: {fault.strerror}") from None
    distinct = {one.tobytes(): one for one in arrays.values()}.values()
    plain = sum(one.nbytes for one in distinct)
    nonzero = sum(int((one != 0).sum()) for one in distinct)
    weights = plain // 4
    print(f"{arguments.output}: {size:,} bytes, {arguments.numbers}; {nonzero:,} of {weights:,} weights are not zero")
    print(f"the weights in float32 take {plain:,} bytes, {plain / size:.1f} times as many")
    return 0


def _refuse_what_does_not_fit(arrays: Dict[str, Any], arguments: argparse.Namespace) -> None:
    """Raises BadInput for weights that are no numbers, or too large for the numbers asked for."""
    import numpy as np

    largest = np.finfo(np.float16).max if arguments.numbers == "float16" else np.finfo(np.float32).max
    for name, one in arrays.items():
        if not np.isfinite(one).all():
            raise BadInput(
                f"{arguments.checkpoint}: {name} holds NaN or infinite weights; the training diverged: export an "
                "earlier checkpoint"
            )
        if one.ndim > 1 and one.size and np.abs(one).max() > largest:
            raise BadInput(
                f"{arguments.checkpoint}: {name} holds {np.abs(one).max():.3g}, but float16 ends at {largest:.0f}: "
                "choose --numbers float32 or int8"
            )


def _write_onnx(arguments: argparse.Namespace, facts: Dict[str, Any], arrays: Dict[str, Any], texts: Dict) -> int:
    """Two files, each written beside its name first."""
    if arguments.numbers != "float32":
        raise BadInput(f"--numbers {arguments.numbers} is for --format compact: an ONNX model is written in float32")
    try:
        import onnx  # noqa: F401
    except ImportError:
        raise BadInput("--format onnx needs the package onnx: pip install onnx") from None
    from .onnx_graphs import encoder_graph, step_graph

    for name, make in (("encoder", encoder_graph), ("step", step_graph)):
        path = Path(f"{arguments.output}.{name}.onnx")
        content = make(facts, arrays, texts)
        try:
            with atomic_write(path) as file:
                file.write(content)
        except OSError as fault:
            raise BadInput(f"{path} cannot be written: {fault.strerror}") from None
        print(f"{path}: {len(content):,} bytes")
    return 0


def _facts(state: Dict[str, Any], tensors: Dict[str, Any]) -> Dict[str, Any]:
    """What the parameters do not say by themselves, and what can be read from their shapes."""
    config, task = config_of(state, "model"), config_of(state, "task")
    hidden = tensors["decoder.attentional.weight"].size(0)
    return {
        "architecture": "bso_lstm",
        "layers": 1 + sum(name.startswith("decoder.upper_layers.") for name in tensors) // 2,
        "bidirectional": "encoder.layers.0.weight_ih_l0_reverse" in tensors,
        "input_feeding": tensors["decoder.first_layer"].size(1) == 2 * hidden,
        "attention": str(option(config, "attention", "general")),
        "residual": bool(option(config, "residual", False)),
        "scorer": str(option(config, "scorer", "softmax")),
        "successors": str(option(task, "successors", "none")),
        "max_target_positions": int(option(config, "max_target_positions") or 1024),
    }


def _texts(arguments: argparse.Namespace, state: Dict[str, Any]) -> Dict[str, bytes]:
    from fairseq.data import Dictionary, data_utils

    config = config_of(state, "task")
    folder = Path(arguments.data or str(option(config, "data") or "").split(":")[0])
    given = [arguments.source_lang, arguments.target_lang]
    trained = [option(config, f"{side}_lang") for side in ("source", "target")]
    if None in trained and None in given and folder.is_dir():
        trained = data_utils.infer_language_pair(str(folder))
    languages = [one or other for one, other in zip(given, trained)]
    texts = {}
    for side, language in zip(("source", "target"), languages):
        path = folder / f"dict.{language}.txt"
        if not path.is_file():
            raise BadInput(
                f"the dictionary {path} does not exist: give its folder with --data, or the language with --{side}-lang"
            )
        dictionary = Dictionary.load(str(path))
        if (dictionary.pad(), dictionary.eos(), dictionary.unk()) != (1, 2, 3):
            raise BadInput(f"{path} numbers its special symbols in its own way: it cannot be exported")
        texts[side] = "\n".join(dictionary.symbols).encode("utf-8")
    return texts


def _subword_model(path: str, texts: Dict[str, bytes]) -> bytes:
    """What the file holds.

    Raises:
        BadInput: it is no subword model, or one of other dictionaries.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as fault:
        raise BadInput(f"--sentencepiece {path} cannot be read: {fault.strerror}") from None
    try:
        from sentencepiece import SentencePieceProcessor
    except ImportError:
        raise BadInput("--sentencepiece needs the package sentencepiece: pip install sentencepiece") from None
    try:
        model = SentencePieceProcessor(model_proto=content or b"nothing")  # of nothing it makes an empty one
    except (RuntimeError, ValueError, IndexError):
        raise BadInput(
            f"--sentencepiece {path} is no subword model of sentencepiece: give the .model file that it trained"
        ) from None
    pieces = {model.id_to_piece(number) for number in range(model.get_piece_size())}
    symbols = texts["source"].decode("utf-8").split("\n")[4:]
    known = sum(symbol in pieces or symbol.startswith("madeupword") for symbol in symbols)
    if 2 * known < min(len(symbols), len(pieces)):
        raise BadInput(
            f"--sentencepiece {path} has {known:,} of the {len(symbols):,} words of the source dictionary among its "
            "pieces; give the model that split the training data"
        )
    return content
