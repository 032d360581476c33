"""A distillation job: the teacher decodes a training set, in parts that any worker may take."""

import logging
import time
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, NamedTuple, Sequence, Tuple

import torch
from fairseq import utils

from ..batches import Batch, length_batches
from ..errors import UserError, counted
from .cache import BATCHES_IN_A_PART, Cache, Targets
from .selection import HypothesisSelector

logger = logging.getLogger(__name__)

SECONDS_BETWEEN_REPORTS = 10


class TeacherDecoder:
    """Decodes with the teacher and selects hypotheses.

    Args:
        models: of the teacher.
        generator: the task's sequence generator for these models.
        gold: the training set, a LanguagePairDataset.
        selector: selects the hypotheses to train on.
        device: of the models.
    """

    def __init__(
        self, models: List[Any], generator: Any, gold: Any, selector: HypothesisSelector, device: torch.device
    ) -> None:
        self.models, self.generator, self.gold = models, generator, gold
        self.selector, self.device = selector, device

    def __call__(self, batch: Batch) -> List[Targets]:
        """The distilled targets of some sentences."""
        sample = self.gold.collater([self.gold[index] for index in batch])
        indices = sample["id"].tolist()
        golds = [self.gold.tgt[index].tolist() for index in indices]
        sources = sample["net_input"]["src_lengths"].tolist()
        if self.device.type == "cuda":
            sample = utils.move_to_cuda(sample, self.device)
        with torch.no_grad():
            lists = self.generator.generate(self.models, sample)
        hypotheses = [[hypothesis["tokens"].tolist() for hypothesis in nbest] for nbest in lists]
        return list(zip(indices, self.selector.select(hypotheses, sources, golds)))


class Part(NamedTuple):
    """Batches that are decoded and written together."""

    batches: List[Batch]
    tokens: int
    """source tokens in all batches"""


def in_parts(batches: List[Batch], sizes: Sequence[int]) -> List[Part]:
    """Divides batches into parts. The parts do not depend on the number of workers, so the results do not either."""
    cuts = [batches[start : start + BATCHES_IN_A_PART] for start in range(0, len(batches), BATCHES_IN_A_PART)]
    return [Part(cut, sum(int(sizes[index]) for batch in cut for index in batch)) for cut in cuts]


def order_of_parts(count: int, rank: int, workers: int) -> List[int]:
    """This worker's parts first, then all others in reverse.

    A worker that finishes early helps the others, and parts of a crashed worker are still decoded.
    """
    own = list(range(rank, count, workers))
    return own + sorted(set(range(count)) - set(own), reverse=True)


def decode_missing(
    cache: Cache,
    parts: List[Part],
    decode: Callable[[Batch], List[Targets]],
    rank: int,
    workers: int,
    keep_going: Callable[[], bool] = lambda: True,
) -> None:
    """Decodes and writes every missing part. When this returns, all parts exist, unless `keep_going` returned False.

    Args:
        cache: stores the parts.
        parts: the whole work.
        decode: the indices of a batch -> its targets.
        rank: of this worker, from 0. Worker 0 logs the progress.
        workers: how many workers there are.
        keep_going: called before every batch; decoding stops when it returns False.
    """
    progress = Progress(cache, parts) if rank == 0 else None
    for number in order_of_parts(len(parts), rank, workers):
        if cache.has_part(number):
            continue
        targets: List[Targets] = []
        for batch in parts[number].batches:
            if not keep_going():
                return
            targets += decode(batch)
            if progress is not None:
                progress.report(len(targets), number)
        cache.write_part(number, targets)
    if progress is not None:
        progress.close()


@dataclass(frozen=True)
class Shard:
    """One process's share of a job."""

    rank: int = 0
    """worker 0 logs the progress and finishes the job"""
    workers: int = 1
    distributed: bool = False
    """whether the workers belong to torch.distributed and wait for each other"""

    @classmethod
    def here(cls) -> "Shard":
        """The share of this process among those of torch.distributed; without these, the whole job."""
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return cls(torch.distributed.get_rank(), torch.distributed.get_world_size(), True)
        return cls()

    def agree(self, answer: bool) -> bool:
        """The answer of worker 0, on every worker of torch.distributed."""
        answers = [answer]
        if self.distributed:
            torch.distributed.broadcast_object_list(answers)
        return answers[0]

    def wait(self) -> None:
        """Waits for the other workers of torch.distributed."""
        if self.distributed:
            torch.distributed.barrier()


@dataclass(frozen=True)
class DistillationJob:
    """Makes a cache of the teacher's outputs for a training set.

    The task, `fairseq-bso distill` and its further workers all run this object, each with its Shard.
    """

    cache: Cache
    gold: Any
    """the training set, a LanguagePairDataset"""
    longest_source: int
    """longer sources are left out, as in fairseq's training"""
    max_tokens: int
    """source tokens in a batch"""
    make_decoder: Callable[[], TeacherDecoder]
    release_teacher: Callable[[], Any]
    """called after decoding"""
    prefix: str
    """of the data set's files, such as `train.de-en`"""
    dictionaries: Dict[str, Any]
    """language -> dictionary, source first"""

    def run(
        self,
        shard: Shard,
        keep_going: Callable[[], bool] = lambda: True,
        before_finish: Callable[[], None] = lambda: None,
    ) -> None:
        """Decodes the missing parts. Worker 0 then makes the data set.

        Args:
            shard: of this worker.
            keep_going: called before every batch; decoding stops when it returns False.
            before_finish: called when all parts exist, before they are joined and removed.

        Raises:
            UserError: if every source is too long, or a file cannot be written.
        """
        parts, left_out = self.plan()
        if not parts:
            raise UserError(
                f"no pair is left to distil: every source has more than {self.longest_source} words, the longest that "
                "the teacher and --max-source-positions allow"
            )
        if not all(self.cache.has_part(number) for number in range(len(parts))):
            decode_missing(self.cache, parts, self.make_decoder(), shard.rank, shard.workers, keep_going)
            self.release_teacher()
        shard.wait()
        if shard.rank == 0:
            before_finish()
            facts = {"sources too long for the teacher": left_out}
            self.cache.finish(len(parts), self.gold, self.prefix, self.dictionaries, facts)
        shard.wait()

    def plan(self) -> Tuple[List[Part], int]:
        """The parts, and how many sentences are left out."""
        sizes = self.gold.src_sizes
        indices = [index for index in range(len(self.gold)) if sizes[index] <= self.longest_source]
        return in_parts(length_batches(sizes, indices, self.max_tokens), sizes), len(self.gold) - len(indices)


class Progress:
    """Logs the progress of all workers and the remaining time."""

    def __init__(self, cache: Cache, parts: List[Part]) -> None:
        self.cache, self.parts = cache, parts
        self.sentences = [sum(map(len, part.batches)) for part in parts]
        self.start = self.last = time.monotonic()
        self.before, self.tokens_before = self._done()
        kept = f", {self.before:,} of them decoded before" if self.before else ""
        logger.info(f"distilling {counted(sum(self.sentences), 'sentence')}{kept}")

    def _done(self) -> Tuple[int, int]:
        """(sentences, source tokens) of the finished parts."""
        done = [number for number in range(len(self.parts)) if self.cache.has_part(number)]
        return sum(self.sentences[number] for number in done), sum(self.parts[number].tokens for number in done)

    def report(self, in_this_part: int, number: int) -> None:
        """Logs a line if the last one is SECONDS_BETWEEN_REPORTS old.

        Args:
            in_this_part: decoded sentences of the current part.
            number: of the current part.
        """
        now = time.monotonic()
        if now - self.last < SECONDS_BETWEEN_REPORTS:
            return
        self.last, seconds = now, now - self.start
        sentences, tokens = self._done()
        sentences += in_this_part
        tokens += self.parts[number].tokens * in_this_part // max(1, self.sentences[number])
        whole = sum(part.tokens for part in self.parts)
        left = (whole - tokens) * seconds / max(1, tokens - self.tokens_before)
        bar = "#" * (20 * tokens // max(1, whole))
        logger.info(
            f"distilling [{bar:.<20}] {sentences:,} of {counted(sum(self.sentences), 'sentence')}, "
            f"{(sentences - self.before) / seconds:.1f} sentences/s, {_clock(left)} left"
        )

    def close(self) -> None:
        """Logs the last line."""
        seconds = time.monotonic() - self.start
        made = sum(self.sentences) - self.before
        speed = made / max(seconds, 1e-9)
        logger.info(f"distilled {counted(made, 'sentence')} in {seconds:.1f} s ({speed:.1f} sentences/s)")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"
