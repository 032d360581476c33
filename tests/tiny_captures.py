"""Checkpoints of random models and binarised sentences, created in process, for the tests of `fairseq-bso states`."""

from argparse import Namespace
from pathlib import Path

import h5py
import numpy
import torch
from fairseq import tasks
from fairseq.data import indexed_dataset
from omegaconf import OmegaConf
from reference import fakes

from fairseq_bso.interpret.capture.capture import capture
from fairseq_bso.interpret.capture.options import CaptureOptions
from fairseq_bso.models.bso_lstm import BsoLSTMConfig

SOURCES = [[5, 6, 7, 4, 2], [8, 2], [9, 9, 4, 2], [2], [4, 5, 6, 7, 8, 9, 4, 5, 2]]
TARGETS = [[6, 6, 2], [4, 9, 8, 7, 6, 5, 4, 2], [2], [7, 2], [5, 4, 2]]
# Options that a task's config reads from other groups, and options that the tests set.
TASK_OPTIONS = {
    **{"source_lang": "src", "target_lang": "tgt", "train_subset": "train", "dataset_impl": None},
    **{"required_seq_len_multiple": 1, "max_source_positions": 1024, "max_target_positions": 1024},
    **{"successors": "none", "truncate_source": False},
}
LANGUAGE_MODEL_OPTIONS = {
    **{"seed": 1, "batch_size": None, "batch_size_valid": None, "dataset_impl": None, "data_buffer_size": 10},
    **{"tpu": False, "use_plasma_view": False, "plasma_path": "", "sample_break_mode": "none"},
    **{"tokens_per_sample": 1024, "add_bos_token": False, "output_dictionary_size": -1},
}
SIZES = {f"{side}_{kind}": 6 for side in ("encoder", "decoder") for kind in ("embed_dim", "hidden_size")}

LANGUAGE_MODEL = {"arch": "lstm_lm", "task": "language_modeling"}


def write_sentences(path, sentences):
    """Writes one side of a binarised subset."""
    builder = indexed_dataset.make_builder(f"{path}.bin", impl="mmap", vocab_size=20)
    for sentence in sentences:
        builder.add_item(torch.tensor(sentence))
    builder.finalize(f"{path}.idx")


def write_data(folder, sources=SOURCES, targets=TARGETS):
    """Writes a data folder with the subset `test`, for translation and for language models."""
    folder = Path(folder)
    folder.mkdir(exist_ok=True)
    for name in ("dict.src.txt", "dict.tgt.txt", "dict.txt"):
        fakes.dictionary(6).save(str(folder / name))
    write_sentences(folder / "test.src-tgt.src", sources)
    if targets is not None:
        write_sentences(folder / "test.src-tgt.tgt", targets)
    write_sentences(folder / "test", sources)
    return folder


def write_checkpoint(path, data, arch, task="translation", **options):
    """Writes a model with large random weights, so that its states differ, and returns it."""
    task_options = LANGUAGE_MODEL_OPTIONS if task == "language_modeling" else TASK_OPTIONS
    fields = tasks.TASK_DATACLASS_REGISTRY[task].__dataclass_fields__
    task_options = {name: value for name, value in task_options.items() if name in fields}
    model = {**SIZES, "arch": arch, "_name": arch, "dropout": 0.0, "decoder_out_embed_dim": 6}
    model.update({"criterion": "cross_entropy", "max_source_positions": 1024, "max_target_positions": 1024})
    of_task = {name: value for name, value in options.items() if name in task_options}
    cfg = {"model": {**model, **options}, "task": {**task_options, "_name": task, "data": str(data), **of_task}}
    if arch == "bso_lstm":
        fields = BsoLSTMConfig.__dataclass_fields__
        cfg["model"] = {name: value for name, value in cfg["model"].items() if name in fields or name == "_name"}
    else:
        cfg["model"] = Namespace(**cfg["model"])
    made = tasks.setup_task(OmegaConf.create(cfg["task"]))
    torch.manual_seed(0)
    built = made.build_model(cfg["model"] if arch != "bso_lstm" else OmegaConf.create(cfg["model"]))
    with torch.no_grad():
        for parameter in built.parameters():
            parameter.uniform_(-0.8, 0.8)
    history = [{"num_updates": 1, "lr_scheduler_state": {}, "optimizer_name": "adam"}]
    extra = {"train_iterator": {"epoch": 1}}
    state = {"args": None, "cfg": cfg, "optimizer_history": history, "extra_state": extra, "model": built.state_dict()}
    torch.save(state, path)
    return built.eval().requires_grad_(False)


def run(folder, arch, options=None, data=None, task="translation", **model_options):
    """Captures states into folder/out; returns the model and all arrays by side and dataset."""
    folder = Path(folder)
    data = data or write_data(folder / "data")
    model = write_checkpoint(folder / "model.pt", data, arch, task, **model_options)
    options = {"cpu": True, "index": False, "overwrite": True, **(options or {})}
    capture(str(folder / "model.pt"), str(data), str(folder / "out"), CaptureOptions(**options))
    return model, read(folder / "out")


def states(folder, out, model="bso", **options):
    """Captures the states of MODEL.pt of a folder with `data`; returns the content of capture.json."""
    options = {"cpu": True, "index": False, **options}
    return capture(str(folder / f"{model}.pt"), str(folder / "data"), str(out), CaptureOptions(**options))


def read(out):
    """{side: {dataset: array}} of a capture folder."""
    found = {}
    for path in sorted(Path(out).glob("*/*.hdf5")):
        with h5py.File(path, "r") as file:
            side = found.setdefault(path.parent.name, {})

            def keep(name, item, path=path, side=side):
                if isinstance(item, h5py.Dataset):
                    side[f"attention_{name}" if path.stem == "attention" else name] = item[:]

            file.visititems(keep)
    return found


def of_sentence(side, name, sentence):
    """The rows of one sentence."""
    start, stop = side["sentence_offsets"][sentence : sentence + 2]
    return side[name][start:stop]


def attention_of(found, sentence):
    """(T, S) attention of one sentence."""
    start, stop = found["decoder"]["attention_offsets"][sentence : sentence + 2]
    rows = numpy.diff(found["decoder"]["sentence_offsets"])[sentence]
    return found["decoder"]["attention_weights"][start:stop].reshape(rows, -1)
