"""Writes capture folders dataset by dataset, with states whose answers are known."""

import json
import random

import h5py
import numpy
import yaml

SYMBOLS = ["(", ")", "0", "1", "2", "3", "4", "</s>"]


def write_side(folder, states, words, lengths, tracks=None, loss=None, predictions=None, dtype="float32"):
    """Writes one project folder.

    Args:
        states: name -> (T, units).
        words: T strings.
        lengths: the lengths of the sentences.
        tracks: name -> (codes, labels), or name -> numbers.
        predictions: (ids (T, k), scores (T, k)).
    """
    folder.mkdir(parents=True)
    vocabulary = sorted(set(words))
    numbers = {word: number for number, word in enumerate(vocabulary)}
    (folder / "words.dict").write_text("".join(f"{word} {number}\n" for word, number in numbers.items()), "utf-8")
    with h5py.File(folder / "states.hdf5", "w") as file:
        for name, values in states.items():
            file.create_dataset(name, data=numpy.asarray(values, dtype=dtype))
    meta = {}
    with h5py.File(folder / "train.hdf5", "w") as file:
        file["word_ids"] = numpy.array([numbers[word] for word in words], dtype=numpy.int32)
        file["sentence_offsets"] = numpy.concatenate([[0], numpy.cumsum(lengths)]).astype(numpy.int64)
        file["sentence_ids"] = numpy.arange(len(lengths), dtype=numpy.int64) + 100
        if loss is not None:
            file["loss"] = numpy.asarray(loss, dtype=numpy.float32)
        if predictions is not None:
            file["predictions"] = numpy.asarray(predictions[0], dtype=numpy.int32)
            file["prediction_scores"] = numpy.asarray(predictions[1], dtype=numpy.float32)
        for name, track in (tracks or {}).items():
            values, labels = track if isinstance(track, tuple) else (track, None)
            kind = numpy.float32 if labels is None else numpy.int32
            file[f"meta/{name}"] = numpy.asarray(values, dtype=kind)
            meta[name] = {"file": "train", "path": f"meta/{name}", "vis": {"type": "scalar"}}
            if labels is not None:
                file[f"meta/{name}"].attrs["labels"] = json.dumps(labels)
    project = {
        "name": folder.name,
        "description": "written by hand",
        "files": {"states": "states.hdf5", "train": "train.hdf5", "words": "words.dict"},
        "word_sequence": {"file": "train", "path": "word_ids", "dict_file": "words"},
        "states": {"file": "states", "types": [{"type": "state", "layer": 1, "path": name} for name in states]},
        "meta": meta,
    }
    (folder / "lstm.yml").write_text(yaml.safe_dump(project, sort_keys=False), "utf-8")
    return folder


def write_capture(folder, sides, **facts):
    """Writes capture.json, the last file of a folder."""
    content = {"version": 1, "architecture": "bso_lstm", "checkpoint": "checkpoint_best.pt", "mode": "reference"}
    content.update(sides=list(sides), description="written by hand", **facts)
    (folder / "capture.json").write_text(json.dumps(content), "utf-8")
    return folder


def write_attention(folder, matrices):
    """Writes decoder/attention.hdf5 from T x S matrices."""
    with h5py.File(folder / "decoder" / "attention.hdf5", "w") as file:
        file["weights"] = numpy.concatenate([one.ravel() for one in matrices]).astype(numpy.float32)
        file["offsets"] = numpy.cumsum([0] + [one.size for one in matrices]).astype(numpy.int64)


def sentence(chance, depth=0):
    """Words of the parentheses language: each number is the depth of nesting at its place."""
    words = []
    for _ in range(chance.randint(2, 4)):
        if depth < 4 and chance.random() < 0.4:
            words += ["(", *sentence(chance, depth + 1), ")"]
        else:
            words.append(str(depth))
    return words


def depths(words):
    """The number of open parentheses after each word."""
    found, depth = [], 0
    for word in words:
        depth += (word == "(") - (word == ")")
        found.append(depth)
    return found


def parentheses_states(words, units, seed, wanderers=0.6):
    """Units 0 to 3 are on at depth 1 to 4 and more, unit 4 counts the depth, and unit 5 is on at numbers.

    The others are smooth noise.
    """
    generator = numpy.random.default_rng(seed)
    depth = numpy.array(depths(words))  # (T,)
    noise = generator.normal(size=(len(words) + 12, units))
    smooth = numpy.stack([numpy.convolve(noise[:, unit], numpy.ones(6) / 6, "valid") for unit in range(units)], 1)
    states = wanderers * smooth[: len(words)]  # (T, units)
    for unit in range(4):
        states[:, unit] = numpy.where(depth > unit, 0.75, -0.2)
    states[:, 4] = 0.22 * depth
    states[:, 5] = numpy.where([word.isdigit() for word in words], 0.6, -0.5)
    states[:, :6] += generator.normal(scale=0.02, size=(len(words), 6))
    return numpy.clip(states, -0.99, 0.99)


def parentheses_capture(folder, sentences=60, units=24, seed=1):
    """Writes a decoder, an encoder of the same words, and attention between them, like that of a copying model."""
    chance = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    targets = [["</s>", *sentence(chance)] for _ in range(sentences)]
    sources = [words[1:] + ["</s>"] for words in targets]
    for place, (name, lines) in enumerate((("encoder", sources), ("decoder", targets))):
        words = [word for line in lines for word in line]
        depth = [one for line in lines for one in depths(line)]
        states = {
            "hidden1": parentheses_states(words, units, seed + place),
            "cell1": 1.3 * parentheses_states(words, units, seed + place),
            "hidden2": parentheses_states(words, units, seed + place + 5),
        }
        kinds = ["end", "number", "opens", "closes"]
        kind = [0 if word == "</s>" else 2 if word == "(" else 3 if word == ")" else 1 for word in words]
        tracks = {"depth": (depth, list("01234")), "kind": (kind, kinds)}
        more = {}
        if name == "decoder":
            generator = numpy.random.default_rng(seed)
            more["loss"] = generator.exponential(0.4, size=len(words))
            vocabulary = len(set(words))
            ids = numpy.stack([generator.permutation(vocabulary)[:3] for _ in words])
            more["predictions"] = (ids, numpy.log(numpy.tile([0.6, 0.25, 0.1], (len(words), 1))))
            tracks["place"] = [place / len(line) for line in lines for place in range(len(line))]
        write_side(folder / name, states, words, [len(line) for line in lines], tracks, **more)
    write_attention(folder, [_diagonal(len(words)) for words in targets])
    return write_capture(folder, ["encoder", "decoder"], sentences=sentences)


def _diagonal(length):
    """(length, length) attention, mostly on the word at the same place."""
    weights = numpy.exp(-1.5 * numpy.abs(numpy.arange(length)[:, None] - numpy.arange(length)[None]))
    return weights / weights.sum(1, keepdims=True)
