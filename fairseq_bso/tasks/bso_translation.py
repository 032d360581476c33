"""``--task bso_translation``: fairseq's translation task, aware of unnormalized models."""

import logging
from dataclasses import dataclass

from fairseq.tasks import register_task
from fairseq.tasks.translation import TranslationConfig, TranslationTask

from ..errors import BadInput
from ..generation import UnnormalizedEnsemble

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
        """fairseq's generator for ``models``, all unnormalized or none; raises BadInput for a mixture."""
        unnormalized = [bool(getattr(model, "unnormalized", False)) for model in models]
        if any(unnormalized) and not all(unnormalized):
            raise BadInput(
                f"an ensemble of {sum(unnormalized)} unnormalized and {len(models) - sum(unnormalized)} softmax models "
                "has no common score: decode with one kind"
            )
        generator = super().build_generator(models, args, seq_gen_cls, extra_gen_cls_kwargs, prefix_allowed_tokens_fn)
        if all(unnormalized) and hasattr(generator, "normalize_scores"):
            if generator.normalize_scores:
                logger.info("the model is unnormalized: scores of hypotheses are not divided by length")
            generator.normalize_scores = False
            if len(models) > 1:
                generator.model = UnnormalizedEnsemble(models)
        return generator
