"""`fairseq-bso export`: a trained `bso_lstm` as one compact file that runs without fairseq and torch, or as ONNX."""

import argparse
from pathlib import Path
from typing import Any, Dict

from ..errors import BadInput
from .logs import show_logs
from .prune import load_state

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
    parser.add_argument("--sentencepiece", help="subword model of both sides, to be put into the file")


def run(arguments: argparse.Namespace) -> int:
    """Writes the file and prints its size. Returns the exit status.

    Raises:
        BadInput: for another model, files that are missing, or one that cannot be written.
    """
    from bso_runtime import container

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
    arrays = {name: one.float().numpy() for name, one in tensors.items()}
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


def _write_onnx(arguments: argparse.Namespace, facts: Dict[str, Any], arrays: Dict[str, Any], texts: Dict) -> int:
    """Two files, each written beside its name first."""
    if arguments.numbers != "float32":
        raise BadInput(f"--numbers {arguments.numbers} is for --format compact: an ONNX model is written in float32")
    try:
        import onnx  # noqa: F401
    except ImportError:
        raise BadInput("--format onnx needs the package onnx: pip install onnx") from None
    from ..onnx_graphs import encoder_graph, step_graph

    for name, make in (("encoder", encoder_graph), ("step", step_graph)):
        path = Path(f"{arguments.output}.{name}.onnx")
        content = make(facts, arrays, texts)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(path.name + ".part")
            part.write_bytes(content)
            part.replace(path)
        except OSError as fault:
            raise BadInput(f"{path} cannot be written: {fault.strerror}") from None
        print(f"{path}: {len(content):,} bytes")
    return 0


def _option(config: Any, name: str, default: Any = None) -> Any:
    """An option of a checkpoint's config, which is a dict or an argparse.Namespace."""
    return config.get(name, default) if hasattr(config, "get") else getattr(config, name, default)


def _facts(state: Dict[str, Any], tensors: Dict[str, Any]) -> Dict[str, Any]:
    """What the parameters do not say by themselves, and what can be read from their shapes."""
    config, task = ((state.get("cfg") or {}).get(name) or state.get("args") for name in ("model", "task"))
    hidden = tensors["decoder.attentional.weight"].size(0)
    return {
        "architecture": "bso_lstm",
        "layers": 1 + sum(name.startswith("decoder.upper_layers.") for name in tensors) // 2,
        "bidirectional": "encoder.layers.0.weight_ih_l0_reverse" in tensors,
        "input_feeding": tensors["decoder.first_layer"].size(1) == 2 * hidden,
        "attention": str(_option(config, "attention", "general")),
        "residual": bool(_option(config, "residual", False)),
        "scorer": str(_option(config, "scorer", "softmax")),
        "successors": str(_option(task, "successors", "none")),
        "max_target_positions": int(_option(config, "max_target_positions") or 1024),
    }


def _texts(arguments: argparse.Namespace, state: Dict[str, Any]) -> Dict[str, bytes]:
    from fairseq.data import Dictionary, data_utils

    config = (state.get("cfg") or {}).get("task") or state.get("args")
    folder = Path(arguments.data or str(_option(config, "data") or "").split(":")[0])
    languages = [_option(config, f"{side}_lang") for side in ("source", "target")]
    if None in languages and folder.is_dir():
        languages = data_utils.infer_language_pair(str(folder))
    texts = {}
    for side, language in zip(("source", "target"), languages):
        path = folder / f"dict.{language}.txt"
        if not path.is_file():
            raise BadInput(f"the dictionary {path} does not exist: give its folder with --data")
        dictionary = Dictionary.load(str(path))
        if (dictionary.pad(), dictionary.eos(), dictionary.unk()) != (1, 2, 3):
            raise BadInput(f"{path} numbers its special symbols in its own way: it cannot be exported")
        texts[side] = "\n".join(dictionary.symbols).encode("utf-8")
    if arguments.sentencepiece:
        try:
            texts["sentencepiece"] = Path(arguments.sentencepiece).read_bytes()
        except OSError as fault:
            raise BadInput(f"--sentencepiece {arguments.sentencepiece} cannot be read: {fault.strerror}") from None
    return texts
