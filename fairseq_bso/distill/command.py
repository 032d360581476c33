"""`fairseq-bso distill`: makes the training set of `--task sequence_distillation` without training."""

import argparse
import logging
import os
import subprocess
import sys
from typing import Any, List

from fairseq.dataclass.utils import gen_parser_from_dataclass

from ..errors import UserError
from ..logs import show_logs
from ..subsets import is_raw
from ..user_dirs import import_user_dir
from .job import Shard
from .options import SequenceDistillationConfig
from .tasks import SequenceDistillationTask


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the task and of the worker processes."""
    parser.add_argument(
        "--workers", type=int, default=1, help="number of processes; each uses one GPU, if there are GPUs"
    )
    parser.add_argument("--cpu", action="store_true", help="use no GPU")
    parser.add_argument("--user-dir", help="folder with plugins of your own that the teacher needs")
    parser.add_argument("--train-subset", default="train", help="the subset of the data to distil")
    parser.add_argument("--rank", type=int, help=argparse.SUPPRESS)  # of a worker that this command started
    parser.add_argument("--parent", type=int, help=argparse.SUPPRESS)  # the process that started it
    gen_parser_from_dataclass(parser, SequenceDistillationConfig())


def run(arguments: argparse.Namespace) -> int:
    """Makes the cache, or continues an unfinished one. Returns the exit status."""
    show_logs(logging.WARNING if arguments.rank else logging.INFO)
    if arguments.workers < 1:
        raise UserError(f"--workers is {arguments.workers}, but must be at least 1")
    if arguments.data is None:
        raise UserError("fairseq-bso distill needs the data folder of fairseq-preprocess as its first argument")
    _choose_device(arguments)
    import_user_dir(arguments)
    task = _task(arguments)
    gold = task.load_gold()
    if arguments.rank:
        # A worker stops when its parent has ended.
        task.job(gold).run(Shard(arguments.rank, arguments.workers), lambda: os.getppid() == arguments.parent)
        return 0
    if task.is_distilled():
        return 0
    with task.cache.alone():
        if not task.is_distilled():  # another process may have made it in the meantime
            _make(task, gold, arguments)
    return 0


def _make(task: SequenceDistillationTask, gold: Any, arguments: argparse.Namespace) -> None:
    """Makes the cache with further workers."""
    started = [_start(arguments.argv, rank) for rank in range(1, arguments.workers)]

    def dismiss() -> None:
        for worker in started:
            worker.terminate()
            worker.wait()

    try:
        task.job(gold).run(Shard(0, arguments.workers), before_finish=dismiss)
    finally:  # also if this process fails
        dismiss()


def _task(arguments: argparse.Namespace) -> SequenceDistillationTask:
    """The task of the data folder. Raises UserError if it is none of fairseq-preprocess."""
    try:
        task = SequenceDistillationTask.setup_task(_config(arguments))
    except Exception as error:  # fairseq raises a plain Exception where it finds no languages
        raise UserError(
            f"the data folder {arguments.data} cannot be used ({' '.join(str(error).split())}): give the folder that "
            "fairseq-preprocess wrote, or correct --source-lang and --target-lang"
        ) from None
    if is_raw(task.cfg.data, arguments.train_subset, task.cfg.source_lang, task.cfg.target_lang):
        task.cfg.dataset_impl = "raw"
    return task


def _config(arguments: argparse.Namespace) -> SequenceDistillationConfig:
    """The task's config with these arguments."""
    config = SequenceDistillationConfig()
    for name in SequenceDistillationConfig.__dataclass_fields__:
        if hasattr(arguments, name):
            setattr(config, name, getattr(arguments, name))
    config.dataset_impl, config.required_seq_len_multiple = None, 1
    return config


def _choose_device(arguments: argparse.Namespace) -> None:
    """Gives each worker a GPU in turn, or an equal share of the CPU threads."""
    import torch

    if torch.cuda.is_available() and not arguments.cpu:
        torch.cuda.set_device((arguments.rank or 0) % torch.cuda.device_count())
    elif "OMP_NUM_THREADS" not in os.environ:
        torch.set_num_threads(max(1, torch.get_num_threads() // arguments.workers))


def _start(argv: List[str], rank: int) -> subprocess.Popen:
    """Starts a further worker with the arguments of this process."""
    code = "import sys; from bso_runtime.cli import main; sys.exit(main(sys.argv[1:]))"
    return subprocess.Popen([sys.executable, "-c", code, *argv, "--rank", str(rank), "--parent", str(os.getpid())])
