"""``--task bso_translation``: fairseq's translation task, aware of unnormalized models."""

import logging
from dataclasses import dataclass

from fairseq.tasks import register_task
from fairseq.tasks.translation import TranslationConfig, TranslationTask

from ..errors import BadInput
from ..generation import UnnormalizedEnsemble, UnnormalizedScorer

logger = logging.getLogger(__name__)


@dataclass
class BsoTranslationConfig(TranslationConfig):
    """The options of ``translation``."""


@register_task("bso_translation", dataclass=BsoTranslationConfig)
class BsoTranslationTask(TranslationTask):
    """Translation whose generator ranks finished hypotheses of unnormalized models by their last ``f``: never divided
    by length, and averaged (not log-sum-exp'ed) over an ensemble."""

    cfg: BsoTranslationConfig

    def build_generator(self, models, args, seq_gen_cls=None, extra_gen_cls_kwargs=None, prefix_allowed_tokens_fn=None):
        """fairseq's generator (or scorer of references) for ``models``, all unnormalized or none.

        Raises:
            BadInput: for a mixture of models, or options that unnormalized scores give no meaning.
        """
        unnormalized = [bool(getattr(model, "unnormalized", False)) for model in models]
        if not any(unnormalized):
            return super().build_generator(models, args, seq_gen_cls, extra_gen_cls_kwargs, prefix_allowed_tokens_fn)
        _check(unnormalized, args)
        if getattr(args, "score_reference", False):
            return UnnormalizedScorer(self.target_dictionary)
        generator = super().build_generator(models, args, seq_gen_cls, extra_gen_cls_kwargs, prefix_allowed_tokens_fn)
        if generator.normalize_scores:
            logger.info("the model is unnormalized: scores of hypotheses are not divided by length")
        generator.normalize_scores = False
        if len(models) > 1:
            generator.model = UnnormalizedEnsemble(models)
        return generator


def _check(unnormalized, args) -> None:
    """Raises BadInput for what would silently be wrong with unnormalized scores."""
    models, softmax = len(unnormalized), unnormalized.count(False)
    if softmax:
        raise BadInput(
            f"an ensemble of {models - softmax} unnormalized and {softmax} softmax models has no common score: decode "
            "with one kind"
        )
    if getattr(args, "temperature", 1.0) != 1.0:
        raise BadInput(
            f"--temperature is {args.temperature}, but unnormalized scores have no temperature: leave it at 1"
        )
    if getattr(args, "sampling_topp", -1.0) > 0:
        raise BadInput(f"--sampling-topp {args.sampling_topp} needs probabilities: use --sampling-topk or --beam")
    if getattr(args, "match_source_len", False):
        raise BadInput("--match-source-len sets the score of </s> to 0, which unnormalized scores may lie below")
    if getattr(args, "score_reference", False) and models > 1:
        raise BadInput(f"--score-reference takes one unnormalized model, but got {models}: score them in turn")
