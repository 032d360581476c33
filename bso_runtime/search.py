"""Beam search for one sentence, with the rules of fairseq's generator: a hypothesis that ends among the best K of the
step is finished; K finished ones end the search."""

from typing import List, NamedTuple, Tuple

import numpy as np

from .network import Network

PAD, END = 1, 2  # of every fairseq dictionary


class Options(NamedTuple):
    """As the options of fairseq-generate of these names."""

    beam: int = 5
    max_len_a: float = 0.0
    max_len_b: int = 200
    lenpen: float = 1.0
    """of softmax models; unnormalized scores are never divided by length"""


def beam_search(network: Network, source: List[int], options: Options) -> List[Tuple[float, List[int]]]:
    """Word numbers of a sentence with its `</s>` -> finished hypotheses without `</s>`, best first, with scores."""
    unnormalized = network.facts["scorer"] == "unnormalized"
    beam = min(options.beam, len(network.output_bias) - 1)
    longest = int(options.max_len_a * len(source) + options.max_len_b)
    longest = min(longest, int(network.facts["max_target_positions"]) - 1)
    memory, state = network.encode(source)
    words, scores = np.array([END]), np.zeros(1, np.float32)
    prefixes: List[List[int]] = [[]]
    finished: List[Tuple[float, List[int]]] = []
    for step in range(longest + 1):
        values, state = network.step(words, state, memory)
        values = values if unnormalized else _log_softmax(values) + scores[:, None]
        values[np.isnan(values)] = -np.inf
        values[:, PAD] = -np.inf
        if step >= longest:
            values[:, :END] = values[:, END + 1 :] = -np.inf
        elif step == 0:
            values[:, END] = -np.inf
        ranked, rows, nexts = _best(values, min(2 * beam, values.size - 1))
        alive = []
        for place, (score, row, word) in enumerate(zip(ranked, rows, nexts)):
            if word != END:
                alive.append(place)
            elif place < beam and score > -np.inf and len(finished) < beam:
                divisor = 1.0 if unnormalized else (step + 1) ** options.lenpen
                finished.append((float(score) / divisor, prefixes[row]))
        if len(finished) == beam or step == longest:
            break
        alive = [place for place in alive if ranked[place] > -np.inf][:beam]
        if not alive:
            break
        prefixes = [[*prefixes[rows[place]], int(nexts[place])] for place in alive]
        words, scores, state = nexts[alive], ranked[alive], state.select(rows[alive])
    return sorted(finished, key=lambda one: -one[0])


def _best(values: np.ndarray, count: int) -> Tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The best of (R, V): scores, rows and words, best first, the first of equal ones."""
    flat = values.ravel()
    chosen = np.argpartition(-flat, count - 1)[:count] if count < len(flat) else np.arange(len(flat))
    chosen = chosen[np.lexsort((chosen, -flat[chosen]))]
    return flat[chosen], chosen // values.shape[1], chosen % values.shape[1]


def _log_softmax(values: np.ndarray) -> np.ndarray:
    shifted = values - values.max(1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
