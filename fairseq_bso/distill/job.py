"""A distillation job: a training set decoded by the teacher, in parts that any worker may take."""

import logging
import time
from dataclasses import dataclass
from typing import Any, Callable, Dict, List, NamedTuple, Sequence, Tuple

import torch
from fairseq import utils

from ..batches import Batch, length_batches
from .cache import Cache, Targets
from .selection import Chooser

logger = logging.getLogger(__name__)

BATCHES_IN_A_PART = 4
SECONDS_BETWEEN_REPORTS = 10


class Decoder:
    """Searches with the teacher, and chooses.

    Args:
        models: the teacher's.
        generator: what the task builds for them.
        gold: the training set, a LanguagePairDataset.
        chooser: takes the hypotheses to train on.
        device: where the models are.
    """

    def __init__(self, models, generator, gold, chooser: Chooser, device: torch.device) -> None:
        self.models, self.generator, self.gold = models, generator, gold
        self.chooser, self.device = chooser, device

    def __call__(self, batch: Batch) -> List[Targets]:
        """The distilled targets of some sentences."""
        sample = self.gold.collater([self.gold[place] for place in batch])
        places = sample["id"].tolist()
        golds = [self.gold.tgt[place].tolist() for place in places]
        sources = sample["net_input"]["src_lengths"].tolist()
        if self.device.type == "cuda":
            sample = utils.move_to_cuda(sample, self.device)
        with torch.no_grad():
            found = self.generator.generate(self.models, sample)
        hypotheses = [[each["tokens"].tolist() for each in several] for several in found]
        return list(zip(places, self.chooser.choose(hypotheses, sources, golds)))


class Part(NamedTuple):
    """Some batches, decoded and written together."""

    batches: List[Batch]
    tokens: int
    """of the sources, all together"""


def in_parts(batches: List[Batch], sizes: Sequence[int]) -> List[Part]:
    """Cuts the work; the same cut for any number of workers, so that the results are the same too."""
    cuts = [batches[start : start + BATCHES_IN_A_PART] for start in range(0, len(batches), BATCHES_IN_A_PART)]
    return [Part(cut, sum(int(sizes[place]) for batch in cut for place in batch)) for cut in cuts]


def order_of_parts(count: int, rank: int, workers: int) -> List[int]:
    """A worker's own parts, then those of the others from the end: who is done helps, and nobody waits for the dead."""
    own = list(range(rank, count, workers))
    return own + sorted(set(range(count)) - set(own), reverse=True)


def decode_missing(
    cache: Cache,
    parts: List[Part],
    decode: Callable[[Batch], List[Targets]],
    rank: int,
    workers: int,
    wanted: Callable[[], bool] = lambda: True,
) -> None:
    """Makes every part that is not there. When this returns, all are.

    Args:
        cache: holds the parts.
        parts: all of the work.
        decode: a batch's places -> its targets.
        rank: which of the workers this is, from 0; 0 reports.
        workers: how many there are.
        wanted: asked before every batch; if it says no, all is left as it is.
    """
    progress = Progress(cache, parts) if rank == 0 else None
    for number in order_of_parts(len(parts), rank, workers):
        if cache.has_part(number):
            continue
        targets: List[Targets] = []
        for batch in parts[number].batches:
            if not wanted():
                return
            targets += decode(batch)
            if progress is not None:
                progress.report(len(targets), number)
        cache.write_part(number, targets)
    if progress is not None:
        progress.close()


@dataclass(frozen=True)
class Shard:
    """The share of a job that one process takes."""

    rank: int = 0
    """0 reports, and finishes the job"""
    workers: int = 1
    distributed: bool = False
    """whether the workers are those of torch.distributed, which wait for each other"""

    @classmethod
    def here(cls) -> "Shard":
        """That of this process among those of torch.distributed; all of the job where there are none."""
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            return cls(torch.distributed.get_rank(), torch.distributed.get_world_size(), True)
        return cls()

    def wait(self) -> None:
        """Waits for the other workers of torch.distributed."""
        if self.distributed:
            torch.distributed.barrier()


@dataclass(frozen=True)
class DistillationJob:
    """All that turns a training set into a cache of the teacher's outputs."""

    cache: Cache
    gold: Any
    """the training set, a LanguagePairDataset"""
    longest_source: int
    """longer sources are left out, as fairseq leaves them out of training"""
    max_tokens: int
    """source tokens in a batch"""
    make_decoder: Callable[[], Decoder]
    release_teacher: Callable[[], Any]
    """called when all is decoded"""
    prefix: str
    """of the data set's files, such as `train.de-en`"""
    dictionaries: Dict[str, Any]
    """language -> dictionary, source first"""

    def run(
        self,
        shard: Shard,
        wanted: Callable[[], bool] = lambda: True,
        before_finish: Callable[[], None] = lambda: None,
    ) -> None:
        """Decodes what is missing; the first worker then makes the data set.

        Args:
            shard: which worker this is.
            wanted: asked before every batch; if it says no, the work is left as it is.
            before_finish: called when all parts are there, before they are joined and removed.
        """
        parts, left_out = self.plan()
        if not all(self.cache.has_part(number) for number in range(len(parts))):
            decode_missing(self.cache, parts, self.make_decoder(), shard.rank, shard.workers, wanted)
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
        places = [int(place) for place in range(len(self.gold)) if sizes[place] <= self.longest_source]
        return in_parts(length_batches(sizes, places, self.max_tokens), sizes), len(self.gold) - len(places)


class Progress:
    """Says now and then how far all workers are, and how long it will take."""

    def __init__(self, cache: Cache, parts: List[Part]) -> None:
        self.cache, self.parts = cache, parts
        self.sentences = [sum(map(len, part.batches)) for part in parts]
        self.start = self.last = time.monotonic()
        self.before, self.tokens_before = self._done()
        kept = f", {self.before:,} of them decoded before" if self.before else ""
        logger.info(f"distilling {sum(self.sentences):,} sentences{kept}")

    def _done(self):
        """(sentences, source tokens) of the parts that are there."""
        there = [number for number in range(len(self.parts)) if self.cache.has_part(number)]
        return sum(self.sentences[number] for number in there), sum(self.parts[number].tokens for number in there)

    def report(self, in_this_part: int, number: int) -> None:
        """A line in the log, if the last is some time ago."""
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
            f"distilling [{bar:.<20}] {sentences:,} of {sum(self.sentences):,} sentences, "
            f"{(sentences - self.before) / seconds:.1f} sentences/s, {_clock(left)} left"
        )

    def close(self) -> None:
        """The last line."""
        seconds = time.monotonic() - self.start
        made = sum(self.sentences) - self.before
        logger.info(f"distilled {made:,} sentences in {seconds:.1f} s ({made / max(seconds, 1e-9):.1f} sentences/s)")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if minutes >= 60 else f"{minutes}:{rest:02}"
