"""Translators that benchmark_peers.py compares, each behind the same call.

    translate(lines, beam, batch_size) -> translations

A kind is imported in the process that measures it, so that its memory and its start are its own.
"""

from __future__ import annotations

import functools
from pathlib import Path

LONGEST = (1.5, 10)  # the longest output: 1.5 times the source length plus 10


def runtime(path, pieces, shortlist=0):
    """A file of `fairseq-bso export`, or the start of the names of a pair in ONNX. It holds its own subword model."""
    from bso_runtime import Translator

    translate = Translator(path).translate
    ratio, more = LONGEST
    return lambda lines, beam, batch_size: translate(
        lines, beam, batch_size=batch_size, max_len_a=ratio, max_len_b=more, shortlist=bool(int(shortlist))
    )


def fairseq(path, pieces, data):
    """A checkpoint, with fairseq's own generator. `data` is the folder of the dictionaries."""
    from argparse import Namespace

    import torch
    from fairseq import checkpoint_utils

    import fairseq_bso  # noqa: F401

    torch.set_num_threads(1)
    models, config, task = checkpoint_utils.load_model_ensemble_and_task([path], arg_overrides={"data": data})
    for model in models:
        model.prepare_for_inference_(config)
    ratio, more = LONGEST

    @functools.lru_cache(None)
    def generator(beam):
        options = {"beam": beam, "max_len_a": ratio, "max_len_b": more, "lenpen": 1, "unkpen": 0, "nbest": 1}
        return task.build_generator(models, Namespace(**options))

    def translate(lines, beam, batch_size):
        def search(batch):
            words = [task.source_dictionary.encode_line(line, add_if_not_exist=False).long() for line in batch]
            dataset = task.build_dataset_for_inference(words, [len(one) for one in words])
            sample = dataset.collater([dataset[index] for index in range(len(words))])
            found = generator(beam).generate(models, sample)
            best = [task.target_dictionary.string(one[0]["tokens"]) if one else "" for one in found]
            return dict(zip(sample["id"].tolist(), best))

        return in_batches(lines, batch_size, pieces, search)

    return translate


def ctranslate2(path, pieces, compute_type="default"):
    """A folder of `ct2-fairseq-converter`."""
    import ctranslate2 as library

    model = library.Translator(path, compute_type=compute_type, inter_threads=1, intra_threads=1)
    ratio, more = LONGEST

    def translate(lines, beam, batch_size):
        def search(batch):
            words = [line.split() for line in batch]
            longest = int(ratio * max(map(len, words)) + more)
            found = model.translate_batch(words, beam_size=beam, max_decoding_length=longest)
            return {index: " ".join(one.hypotheses[0]) for index, one in enumerate(found)}

        return in_batches(lines, batch_size, pieces, search)

    return translate


def in_batches(lines, batch_size, pieces, search):
    """Splits lines into subwords, translates those of similar length together, and joins the subwords.

    Args:
        lines: text.
        batch_size: lines in a batch.
        pieces: the subword model.
        search: lines of a batch -> {index in the batch: words of the translation}.
    """
    split = [" ".join(pieces.encode(line, out_type=str)) for line in lines]
    order = sorted(range(len(lines)), key=lambda index: len(split[index].split()))
    results = [""] * len(lines)
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        found = search([split[index] for index in batch])
        for index, words in found.items():
            results[batch[index]] = pieces.decode(words.split())
    return results


KINDS = {"runtime": runtime, "fairseq": fairseq, "ctranslate2": ctranslate2}


def size_of(path):
    """The bytes of a file, of all files in a folder, or of the files whose names start like this."""
    path = Path(path)
    if path.is_file():
        return path.stat().st_size
    files = path.rglob("*") if path.is_dir() else path.parent.glob(path.name + ".*.onnx")
    return sum(file.stat().st_size for file in files if file.is_file())
