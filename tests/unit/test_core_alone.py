"""`core` is pure torch: every module of it imports where fairseq, and the rest of the package, cannot be had."""

import subprocess
import sys
from pathlib import Path

import fairseq_bso

CORE = Path(fairseq_bso.__file__).parent / "core"

# `core` is loaded from its folder as a package of its own: through `fairseq_bso` the plugins would come along.
IMPORT_ALL = """
import importlib, sys

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("fairseq", "fairseq_cli", "fairseq_bso", "sacrebleu"):
            raise ImportError("core asks for " + name)

sys.meta_path.insert(0, Refuse())
sys.path.insert(0, sys.argv[1])
for name in sys.argv[2:]:
    importlib.import_module(name)
print(len(sys.argv[2:]), "modules")
"""


def import_all(parent: Path, names):
    """Run IMPORT_ALL in a process of its own; the modules are found below `parent`."""
    command = [sys.executable, "-c", IMPORT_ALL, str(parent), *names]
    return subprocess.run(command, capture_output=True, text=True, cwd=parent)


def test_every_module_of_core_imports_without_fairseq():
    modules = sorted(path.stem for path in CORE.glob("*.py") if path.stem != "__init__")
    assert modules, "no modules in {}".format(CORE)
    result = import_all(CORE.parent, ["core"] + ["core." + name for name in modules])
    assert result.returncode == 0, result.stderr
    assert result.stdout.strip() == "{} modules".format(len(modules) + 1)


def test_the_check_itself_fails_on_a_module_that_asks_for_fairseq(tmp_path):
    (tmp_path / "impure.py").write_text("from fairseq import utils\n")
    result = import_all(tmp_path, ["impure"])
    assert result.returncode != 0
    assert "core asks for fairseq" in result.stderr
