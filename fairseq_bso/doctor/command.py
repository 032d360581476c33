"""`fairseq-bso doctor`: says whether the package works here."""

import argparse

from ..logs import show_logs
from .surroundings import library_rows, torch_rows


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """There are none."""


def run(arguments: argparse.Namespace) -> int:
    """Prints one screen. Returns the exit status: 0 if everything works."""
    for row in library_rows():
        _show(*row)
    try:
        for row in torch_rows():
            _show(*row)
        from fairseq.criterions import CRITERION_REGISTRY
        from fairseq.models import ARCH_MODEL_REGISTRY
        from fairseq.tasks import TASK_REGISTRY

        from .. import plugins  # noqa: F401
        from .self_test import self_test
    except ImportError as error:
        _show("plugins", f"cannot be imported: {error}; install what is missing, or reinstall fairseq_bso")
        return 1
    show_logs()
    wanted = {
        "bso_lstm": ARCH_MODEL_REGISTRY,
        "beam_search_optimization": CRITERION_REGISTRY,
        "bso_translation": TASK_REGISTRY,
    }
    missing = [name for name, registry in wanted.items() if name not in registry]
    _show("plugins", f"not registered: {', '.join(missing)}" if missing else "registered with fairseq")
    outcome = self_test()
    text = f"loss {outcome.before:.2f}, after {outcome.seconds:.1f} seconds of training {outcome.after:.2f}"
    _show("self test", text if outcome.good else f"{text}: it should fall by half; reinstall torch and fairseq")
    return 0 if outcome.good and not missing else 1


def _show(name: str, value: str) -> None:
    print(f"{name:14}{value}", flush=True)
