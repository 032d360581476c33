"""`fairseq-bso distill`: makes the training set of `--task sequence_distillation`, without training."""

import argparse
import logging
import os
import subprocess
import sys
from typing import List

from fairseq import utils
from fairseq.dataclass.utils import gen_parser_from_dataclass

from ..errors import BadInput
from ..logs import show_logs
from .job import Shard
from .tasks import SequenceDistillationConfig, SequenceDistillationTask

NAME = "distill"
HELP = "Decode a training set with a teacher into the folder that --task sequence_distillation trains on."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of the task, and how many processes share the work."""
    parser.add_argument("--workers", type=int, default=1, help="processes; with GPUs each takes one in turn")
    parser.add_argument("--cpu", action="store_true", help="use no GPU")
    parser.add_argument("--user-dir", help="folder with plugins of your own that the teacher needs")
    parser.add_argument("--train-subset", default="train", help="which subset of the data is distilled")
    parser.add_argument("--rank", type=int, help=argparse.SUPPRESS)  # of a process that this command has started
    parser.add_argument("--parent", type=int, help=argparse.SUPPRESS)  # and by whom
    gen_parser_from_dataclass(parser, SequenceDistillationConfig())


def run(arguments: argparse.Namespace) -> int:
    """Makes the cache, or takes up where it was left. Returns the exit status."""
    show_logs(logging.WARNING if arguments.rank else logging.INFO)
    if arguments.workers < 1:
        raise BadInput(f"--workers is {arguments.workers}, but must be at least 1")
    if arguments.data is None:
        raise BadInput("fairseq-bso distill needs the data folder that fairseq-preprocess wrote, as its first argument")
    _take_a_share(arguments)
    utils.import_user_module(arguments)
    task = SequenceDistillationTask.setup_task(_config(arguments))
    gold = task.load_gold()
    if arguments.rank:
        # A worker whose parent is gone is not wanted any more.
        task.job(gold).run(Shard(arguments.rank, arguments.workers), lambda: os.getppid() == arguments.parent)
        return 0
    if task.is_distilled():
        return 0
    helpers = [_start(arguments.words, rank) for rank in range(1, arguments.workers)]

    def dismiss() -> None:
        for helper in helpers:
            helper.terminate()
            helper.wait()

    try:
        task.job(gold).run(Shard(0, arguments.workers), before_finish=dismiss)
    finally:  # also if this process has failed
        dismiss()
    return 0


def _config(arguments: argparse.Namespace) -> SequenceDistillationConfig:
    config = SequenceDistillationConfig()
    for name in SequenceDistillationConfig.__dataclass_fields__:
        if hasattr(arguments, name):
            setattr(config, name, getattr(arguments, name))
    config.dataset_impl, config.required_seq_len_multiple = None, 1
    return config


def _take_a_share(arguments: argparse.Namespace) -> None:
    """Of the machine: a GPU in turn, or as many threads as the others leave."""
    import torch

    if torch.cuda.is_available() and not arguments.cpu:
        torch.cuda.set_device((arguments.rank or 0) % torch.cuda.device_count())
    elif "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() // arguments.workers))


def _start(words: List[str], rank: int) -> subprocess.Popen:
    """One more process with the words of this command line."""
    code = "import sys; from fairseq_bso.cli import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.Popen([sys.executable, "-c", code, *words, "--rank", str(rank), "--parent", str(os.getpid())])
