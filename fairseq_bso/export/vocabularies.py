"""The texts that an exported model needs: the dictionaries of both sides, the subword model and the shortlist."""

import argparse
from pathlib import Path
from typing import Any, Dict, List, Sequence, Tuple

from ..checkpoints import config_of, option
from ..errors import UserError

__all__ = ["dictionaries_of", "vocabularies_of"]


def vocabularies_of(arguments: argparse.Namespace, state: Dict[str, Any], sizes: Sequence[int]) -> Dict[str, bytes]:
    """The dictionaries of both sides, and the subword model and the shortlist if they are asked for.

    Args:
        arguments: of the command.
        state: the checkpoint.
        sizes: the number of source and target words that the model embeds.

    Raises:
        UserError: a file is missing or damaged, or does not fit the model.
    """
    vocabularies = dictionaries_of(arguments, state)
    for side, size in zip(("source", "target"), sizes):
        symbols = vocabularies[side].count(b"\n") + 1
        if symbols != size:
            raise UserError(
                f"the {side} dictionary has {symbols} symbols, but the checkpoint was trained with {size}: give the "
                "folder of its own data with --data"
            )
    if arguments.sentencepiece:
        vocabularies["sentencepiece"] = _subword_model(arguments.sentencepiece, vocabularies)
    if arguments.shortlist is not None:
        from ..shortlist.files import path_in, read_shortlist

        folder, languages = _data_folder(arguments, state)
        path = arguments.shortlist or path_in(str(folder), *languages)
        vocabularies["shortlist"] = read_shortlist(path, vocabularies["source"], vocabularies["target"])
    return vocabularies


def _data_folder(arguments: argparse.Namespace, state: Dict[str, Any]) -> Tuple[Path, List[Any]]:
    """The folder of the dictionaries, and the source and target language."""
    from fairseq.data import data_utils

    config = config_of(state, "task")
    folder = Path(arguments.data or str(option(config, "data") or "").split(":")[0])
    given = [arguments.source_lang, arguments.target_lang]
    trained = [option(config, f"{side}_lang") for side in ("source", "target")]
    if None in trained and None in given and folder.is_dir():
        trained = data_utils.infer_language_pair(str(folder))
    languages = [asked or inferred for asked, inferred in zip(given, trained)]
    if None in languages:
        there = ", ".join(sorted(path.name for path in folder.glob("dict.*.txt"))) or "no dictionary"
        raise UserError(
            f"{arguments.checkpoint} names no languages, and {folder} holds no data that does ({there}): give "
            "--source-lang and --target-lang"
        )
    return folder, languages


def dictionaries_of(arguments: argparse.Namespace, state: Dict[str, Any]) -> Dict[str, bytes]:
    """The symbols of both dictionaries, one a line.

    Raises:
        UserError: a dictionary is missing or damaged, or numbers its special symbols in its own way.
    """
    from fairseq.data import Dictionary

    from ..shortlist.files import symbols_of

    folder, languages = _data_folder(arguments, state)
    dictionaries = {}
    for side, language in zip(("source", "target"), languages):
        path = folder / f"dict.{language}.txt"
        if not path.is_file():
            raise UserError(
                f"the dictionary {path} does not exist: give its folder with --data, or the language with --{side}-lang"
            )
        try:
            dictionary = Dictionary.load(str(path))
        except Exception as error:  # fairseq raises a plain Exception where a text is not UTF-8
            raise UserError(f"the dictionary {path} cannot be read ({' '.join(str(error).split())})") from None
        if (dictionary.pad(), dictionary.eos(), dictionary.unk()) != (1, 2, 3):
            raise UserError(f"{path} numbers its special symbols in its own way: it cannot be exported")
        dictionaries[side] = symbols_of(dictionary)
    return dictionaries


def _subword_model(path: str, vocabularies: Dict[str, bytes]) -> bytes:
    """The content of a subword model's file.

    Raises:
        UserError: it is no subword model, or does not fit the dictionaries.
    """
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UserError(f"--sentencepiece {path} cannot be read: {error.strerror}") from None
    try:
        from sentencepiece import SentencePieceProcessor
    except ImportError:
        raise UserError("--sentencepiece needs the package sentencepiece: pip install sentencepiece") from None
    try:
        model = SentencePieceProcessor(model_proto=content or b"nothing")  # an empty file would make an empty model
    except (RuntimeError, ValueError, IndexError):
        raise UserError(
            f"--sentencepiece {path} is no subword model of sentencepiece: give the .model file that it trained"
        ) from None
    pieces = {model.id_to_piece(piece) for piece in range(model.get_piece_size())}
    symbols = vocabularies["source"].decode("utf-8").split("\n")[4:]
    known = sum(symbol in pieces or symbol.startswith("madeupword") for symbol in symbols)
    if 2 * known < min(len(symbols), len(pieces)):
        raise UserError(
            f"--sentencepiece {path} has {known:,} of the {len(symbols):,} words of the source dictionary among its "
            "pieces; give the model that split the training data"
        )
    return content
