"""Marks every test by its folder, skips GPU tests where there is no GPU, and sets hypothesis up for torch code."""

from pathlib import Path

import pytest
from hypothesis import settings

TIERS = ("unit", "plugin", "documents", "system")

# No deadline: the first call of a torch function is slow, and scripts/benchmarks/benchmark.py measures speed.
settings.register_profile("fairseq_bso", deadline=None, print_blob=True)
settings.load_profile("fairseq_bso")


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()


def pytest_collection_modifyitems(items):
    """Gives tests/<tier>/... the marker of that tier; skips `gpu` tests without a CUDA device.

    System tests come first: no worker then ends with a long file while the others are idle.
    """
    here = Path(__file__).parent
    for item in items:
        folder = item.path.relative_to(here).parts[0] if here in item.path.parents else ""
        if folder in TIERS:
            item.add_marker(folder)
    items.sort(key=lambda item: item.get_closest_marker("system") is None)
    waiting = [item for item in items if item.get_closest_marker("gpu")]
    if waiting and not _has_gpu():
        for item in waiting:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))
