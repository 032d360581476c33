"""The decoders of fairseq's models in the training search, step by step: cached scores are those of whole prefixes."""

from functools import partial
from random import Random
from typing import List, NamedTuple

import pytest
import torch
from reference import fakes, stock
from reference.whole_prefixes import Scores

from fairseq_bso.models.any_decoder import AnyDecoder
from fairseq_bso.models.any_model import output_layer
from fairseq_bso.models.training_search import make_decoder, search_in_training
from fairseq_bso.search.decoder import GoldRun, Rows
from fairseq_bso.search.segments import SearchOptions, search_and_score
from fairseq_bso.search.violations import Violations

pytestmark = pytest.mark.usefixtures("double_precision")

END, WIDTH = 2, 3
SEEDS = range(2)


class Case(NamedTuple):
    """A decoder on one batch, and the scores of whole prefixes for each sentence."""

    decoder: AnyDecoder
    gold: GoldRun
    golds: List[List[int]]
    scores: List[Scores]

    def check(self, outputs, sentences, prefixes) -> None:
        """Compares log-probabilities of outputs (N, H) with those of whole prefixes."""
        found = torch.nn.functional.linear(outputs, *self.decoder.scorer).log_softmax(1)
        for row, sentence, prefix in zip(found, sentences, prefixes):
            torch.testing.assert_close(row, self.scores[sentence](prefix), rtol=1e-8, atol=1e-8)


def make_case(name: str, random: Random, seed: int, fastest: bool = True, training: bool = False, **options) -> Case:
    """Three sentences of different lengths."""
    task = fakes.FakeTask()
    model = stock.model(name, seed, task, **options)
    sources = [[random.randint(4, 9) for _ in range(length)] + [END] for length in (4, 2, 1)]
    golds = [[random.randint(4, 9) for _ in range(random.randint(2, 6))] + [END] for _ in sources]
    sample = stock.batch(task, sources, golds)
    twin = stock.model(name, seed, task, **options)
    with torch.no_grad():
        scores = [Scores(twin, source) for source in sources]
    net_input = sample["net_input"]
    layer = output_layer(model, net_input)
    decoder = make_decoder(model, layer, net_input) if fastest else AnyDecoder(model, layer, net_input)
    model.decoder.train(training)
    return Case(decoder, decoder.gold_run(sample["target"]), golds, scores)


class Walk:
    """Random hypotheses: at every step each slot holds none, a successor of gold, or one of any other hypothesis."""

    def __init__(self, case: Case, random: Random, everywhere: bool) -> None:
        self.case, self.random, self.everywhere = case, random, everywhere
        self.states, self.kept = (), []  # kept: the (sentence, prefix) of every row; None for an empty place

    def step(self, t: int) -> None:
        """Extends hypotheses of ``t`` words by one word and checks the scores that follow."""
        made, source, slots = [], [], []
        for sentence, gold in enumerate(self.case.golds):
            parents = [len(self.case.golds) + row for row, one in enumerate(self.kept) if one and one[0] == sentence]
            for slot in range(WIDTH):
                alive = t + 1 < len(gold) and self.random.random() < 0.7
                if alive or self.everywhere:
                    parent = self.random.choice([sentence, *parents])
                    made.append((sentence, [*self.prefix(parent, t), self.random.randint(3, 9)]) if alive else None)
                    source.append(parent)
                    slots.append(sentence * WIDTH + slot)
        if not any(made) or self.random.random() < 0.2:  # the search keeps nothing but gold
            self.states, self.kept = (), []
            return
        words = torch.tensor([one[1][-1] if one else END for one in made])
        rows = Rows(torch.tensor(slots), WIDTH, self.everywhere)
        with torch.no_grad():
            outputs, self.states = self.case.decoder.extend(t, self.states, torch.tensor(source), words, rows)
            alive = [row for row, one in enumerate(made) if one]
            self.case.check(outputs[alive], *zip(*(made[row] for row in alive)))
        self.kept = made

    def prefix(self, parent: int, t: int) -> List[int]:
        """The ``t`` words of a parent."""
        golds = self.case.golds
        return golds[parent][:t] if parent < len(golds) else self.kept[parent - len(golds)][1]


def check_walks(case: Case, random: Random) -> None:
    """Gold, and two searches of the same batch, the second one over all slots."""
    for sentence, gold in enumerate(case.golds):
        prefixes = [gold[:time] for time in range(len(gold))]
        with torch.no_grad():
            case.check(case.gold.outputs[: len(gold), sentence], [sentence] * len(gold), prefixes)
    for everywhere in (False, True):
        walk = Walk(case, random, everywhere)
        for t in range(max(map(len, case.golds)) - 1):
            walk.step(t)


@pytest.mark.parametrize("name", stock.VARIANTS)
def test_scores_from_the_cache_equal_those_of_the_recomputed_prefix(name):
    """After resets to gold, reorders within a sentence, and steps without a hypothesis."""
    for seed in SEEDS:
        random = Random(seed)
        check_walks(make_case(name, random, seed), random)


@pytest.mark.parametrize("name", ["transformer", "transformer_learned_pre_norm", "transformer_other_sizes"])
def test_a_transformer_in_fairseqs_own_incremental_decoding_gives_the_same(name):
    for seed in SEEDS:
        random = Random(seed)
        check_walks(make_case(name, random, seed, fastest=False), random)


@pytest.mark.parametrize("fastest", [False, True])
@pytest.mark.parametrize("name", stock.of_these("transformer", "lstm", "lightconv", "fconv"))
def test_violators_scores_equal_those_of_the_recomputed_prefix(name, fastest):
    """Segments of all lengths, several in one sentence, and a violator that ended before."""
    for seed in SEEDS:
        random = Random(seed)
        case = make_case(name, random, seed, fastest)
        violations = draw_violations(case, random)
        with torch.no_grad():
            gold, violators = case.decoder.score(case.gold, violations)
        paths, owners = violations.paths.tolist(), violators.owners.tolist()
        places = violators.places.tolist()
        wanted = [
            (owner, place)
            for owner, (start, end) in enumerate(zip(violations.branches.tolist(), violations.ends.tolist()))
            for place in range(start, end + 1)
        ]
        assert sorted(zip(owners, places)) == wanted
        assert violators.words.tolist() == [paths[owner][place] for owner, place in zip(owners, places)]
        sentences = violations.sentences.tolist()
        with torch.no_grad():
            prefixes = [paths[owner][:place] for owner, place in zip(owners, places)]
            case.check(violators.outputs, [sentences[owner] for owner in owners], prefixes)
            for sentence, right in enumerate(case.golds):
                prefixes = [right[:time] for time in range(len(right))]
                case.check(gold.outputs[: len(right), sentence], [sentence] * len(right), prefixes)


def draw_violations(case: Case, random: Random) -> Violations:
    """Random violations; those of one sentence follow one another in time."""
    padding, longest = case.decoder.padding, max(map(len, case.golds))
    found = []
    for sentence, gold in enumerate(case.golds):
        reset = 0
        while reset < len(gold):
            time = random.randint(reset, len(gold) - 1)
            branch = random.randint(reset, time)
            end = random.choice([time, random.randint(branch, time)])
            path = [*gold, *[padding] * (longest - len(gold))]
            own = [random.choice([word for word in range(3, 10) if word != gold[branch]])]
            own += [random.randint(3, 9) for _ in range(end - branch)]
            path[branch : end + 1] = [*own[: end - branch], END] if end < time else own
            path[end + 1 : time + 1] = [padding] * (time - end)
            found.append((time, sentence, reset, branch, end, path))
            reset = time + 1
    times, sentences, resets, branches, ends, paths = (torch.tensor(part) for part in zip(*sorted(found)))
    return Violations(sentences, times, resets, branches, ends, paths, torch.zeros(len(found)))


@pytest.mark.parametrize("name", stock.of_these("lstm", "lightconv", "fconv_two_layers"))
def test_the_decoder_searches_without_dropout(name):
    random = Random(1)
    case = make_case(name, random, 1, training=True, dropout=0.4)
    drawn = torch.get_rng_state()
    check_walks(case, random)
    assert torch.equal(torch.get_rng_state(), drawn)
    assert all(module.training for module in case.decoder.model.decoder.modules())


@pytest.mark.parametrize("name", ["transformer_two_layers", "transformer_learned_pre_norm", "transformer_other_sizes"])
def test_search_and_loss_of_a_transformer_have_the_same_dropout(name):
    """The gap that the search saw is the gap of the loss."""
    task, count = fakes.FakeTask(), 0
    model = stock.model(name, 1, task, dropout=0.3, activation_dropout=0.2).train()
    for seed in range(5):
        random = Random(seed)
        sources = [[random.randint(4, 9) for _ in range(length)] + [END] for length in (4, 2, 1)]
        golds = [[random.randint(4, 9) for _ in range(random.randint(2, 6))] + [END] for _ in sources]
        sample = stock.batch(task, sources, golds)
        search = partial(search_and_score, options=SearchOptions(beam=4, margin=0.5))
        found = search_in_training(model, sample["net_input"], sample["target"], search)
        torch.testing.assert_close(found.gaps.detach(), found.violations.gaps)
        count += int((found.violations.ends > found.violations.branches).sum())
    assert count > 0 and all(module.training for module in model.modules())
