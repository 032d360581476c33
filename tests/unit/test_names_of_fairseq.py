"""The package imports only such names of fairseq as fairseq 0.12.2 has too; `compat` alone knows differences.

Tests run with fairseq-fixed alone as a rule. A name of it that is not in fairseq 0.12.2 then stays unnoticed, although
the package cannot even be imported there.
"""

import ast
import importlib
from pathlib import Path

import pytest

import fairseq_bso

IN_BOTH = {
    "fairseq": "checkpoint_utils models tasks utils",
    "fairseq.criterions": "CRITERION_REGISTRY FairseqCriterion register_criterion",
    "fairseq.criterions.cross_entropy": "CrossEntropyCriterion CrossEntropyCriterionConfig",
    "fairseq.criterions.label_smoothed_cross_entropy": (
        "LabelSmoothedCrossEntropyCriterion LabelSmoothedCrossEntropyCriterionConfig "
    ),
    "fairseq.data": (
        "ConcatDataset Dictionary LanguagePairDataset MonolingualDataset TokenBlockDataset data_utils indexed_dataset "
        "iterators "
    ),
    "fairseq.dataclass": "ChoiceEnum FairseqDataclass utils",
    "fairseq.dataclass.configs": "GenerationConfig",
    "fairseq.dataclass.utils": "convert_namespace_to_omegaconf gen_parser_from_dataclass",
    "fairseq.distributed": "utils",
    "fairseq.file_io": "PathManager",
    "fairseq.models": (
        "ARCH_CONFIG_REGISTRY ARCH_MODEL_REGISTRY BaseFairseqModel FairseqDecoder FairseqEncoder "
        "FairseqEncoderDecoderModel FairseqIncrementalDecoder MODEL_REGISTRY register_model "
        "register_model_architecture "
    ),
    "fairseq.models.lstm": "LSTMModel",
    "fairseq.models.lstm_lm": "LSTMLanguageModel",
    "fairseq.models.transformer.transformer_decoder": "TransformerDecoderBase",
    "fairseq.modules": "FairseqDropout MultiheadAttention",
    "fairseq.modules.checkpoint_activations": "_checkpointed_forward",
    "fairseq.modules.transformer_layer": "TransformerDecoderLayerBase",
    "fairseq.ngram_repeat_block": "NGramRepeatBlock",
    "fairseq.search": "DiverseBeamSearch",
    "fairseq.sequence_generator": "EnsembleModel SequenceGenerator",
    "fairseq.sequence_scorer": "SequenceScorer",
    "fairseq.tasks": "TASK_DATACLASS_REGISTRY TASK_REGISTRY register_task",
    "fairseq.tasks.language_modeling": "LanguageModelingTask",
    "fairseq.tasks.translation": "TranslationConfig TranslationTask load_langpair_dataset",
    "fairseq.trainer": "Trainer",
}
"""module: names that fairseq 0.12.2 and fairseq-fixed 0.12.3.1 both have (`make test-legacy TESTS=tests/unit`)"""
NAMES = [(module, name) for module, names in IN_BOTH.items() for name in names.split()]


def imported(path):
    """(module, name) of every import from fairseq in a file."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and not node.level and (node.module or "").split(".")[0] == "fairseq":
            yield from ((node.module, alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            assert not any(alias.name.startswith("fairseq.") for alias in node.names), f"{path}: write from ... import"


def test_names_are_in_both_releases():
    for path in Path(fairseq_bso.__file__).parent.rglob("*.py"):
        if path.name == "compat.py":
            continue
        new = set(imported(path)) - set(NAMES)
        assert not new, f"{path} imports {new}: if fairseq 0.12.2 has it, add it to IN_BOTH, otherwise use compat"


@pytest.mark.parametrize("module, name", NAMES)
def test_this_release_has_the_names(module, name):
    found = importlib.import_module(module)
    assert hasattr(found, name) or importlib.import_module(f"{module}.{name}")
