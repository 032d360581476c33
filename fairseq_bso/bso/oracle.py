"""``--target oracle``: the lowest-cost hypothesis of the model's own beam takes gold's place, anew in every update."""

from typing import Any, Dict, List, NamedTuple, Tuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ..models.any_model import unwrapped
from ..models.temporary import evaluation
from ..models.training_search import search_in_training
from ..search.decoder import Decoder, GoldRun
from ..search.finished_search import Finished, finished_search, lowest_cost
from ..search.segments import SearchOptions
from .text_costs import TextCosts, Words


class Oracle(NamedTuple):
    """A batch with its oracles."""

    sample: Dict[str, Any]
    """fairseq's batch; an oracle is the target of every sentence that has one, else the reference"""
    logged: Dict[str, Any]


def with_oracle(
    model: Any, sample: Dict[str, Any], padding: int, text_costs: TextCosts, options: SearchOptions
) -> Oracle:
    """Searches to the end as decoding does, without dropout and gradient, and puts the oracles in gold's place.

    Args:
        model: as fairseq gives it, wrapped or not.
        sample: fairseq's batch with a checked target.
        padding: the padding symbol.
        text_costs: the cost of a hypothesis against its reference.
        options: of this search; its beam is that of the oracle.

    Raises:
        UserError: if the model cannot search, or the cost fails.
    """
    net_input, target = with_longer_targets(model, sample["net_input"], sample["target"], padding)

    def search(decoder: Decoder, gold: GoldRun) -> Tuple[Finished, bool]:
        return finished_search(decoder, gold.detach(), options), decoder.prefix_score.normalized

    with torch.no_grad(), evaluation(model):
        finished, normalized = search_in_training(model, net_input, target, search)
    costs = text_costs.of_finished(finished, gold_words(target, padding), net_input["src_tokens"])
    costs = costs.to(finished.scores.device)
    chosen = lowest_cost(finished, costs, normalized)  # (B,)
    has_oracle, slot = chosen >= 0, chosen.clamp(min=0).unsqueeze(1)  # (B,), (B, 1)
    oracles = finished.paths.gather(1, slot.unsqueeze(2).expand(-1, -1, target.size(1))).squeeze(1)  # (B, T)
    words = torch.where(has_oracle.unsqueeze(1), oracles, target)  # (B, T)
    oracle_costs = costs.gather(1, slot).squeeze(1).masked_fill(~has_oracle, 0)  # (B,)
    logged = {"oracles": has_oracle.sum(), "oracle_cost": oracle_costs.sum()}
    return Oracle(_with_target(sample, words, padding), logged)


def _with_target(sample: Dict[str, Any], words: Tensor, padding: int) -> Dict[str, Any]:
    """fairseq's batch with the target ``words`` (B, T), and the inputs of teacher forcing that belong to it."""
    lengths = words.ne(padding).sum(1)
    words = words[:, : int(lengths.max())]
    first = sample["net_input"]["prev_output_tokens"][:, :1]
    previous = torch.cat([first, words[:, :-1].masked_fill(words[:, 1:] == padding, padding)], 1)  # (B, T)
    net_input = {**sample["net_input"], "prev_output_tokens": previous}
    return {**sample, "net_input": net_input, "target": words, "ntokens": int(lengths.sum())}


def with_longer_targets(
    model: Any, net_input: Dict[str, Tensor], target: Tensor, padding: int
) -> Tuple[Dict[str, Tensor], Tensor]:
    """Pads targets (B, T), which bound the length of hypotheses: a quarter and two words more, if the model can."""
    most = int(unwrapped(model).decoder.max_positions())
    extra = max(0, min(target.size(1) // 4 + 2, most - target.size(1)))
    longer = {**net_input, "prev_output_tokens": F.pad(net_input["prev_output_tokens"], (0, extra), value=padding)}
    return longer, F.pad(target, (0, extra), value=padding)


def gold_words(target: Tensor, padding: int) -> List[Words]:
    """The words of each sentence of (B, T), without padding."""
    lengths = target.ne(padding).sum(1).tolist()
    return [tuple(row[:length]) for row, length in zip(target.tolist(), lengths)]
