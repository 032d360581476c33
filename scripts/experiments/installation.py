"""Where the project and the installed programs are, and the environment that commands of an experiment get."""

import importlib
import os
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PLUGIN = ROOT / "fairseq_bso"  # for --user-dir
KEPT_MEMORY = {"MALLOC_TRIM_THRESHOLD_": "4000000000", "MALLOC_MMAP_THRESHOLD_": "2000000000"}
SHORT_WAITS = {"GOMP_SPINCOUNT": "1000"}


def program(name):
    """The full path of an installed command; the folder of this Python comes first.

    Raises SystemExit if there is none."""
    found = shutil.which(name, path=str(Path(sys.executable).parent)) or shutil.which(name)
    if found is None:
        raise SystemExit(f"{name} is not installed beside {sys.executable} or on the PATH; install fairseq first")
    return found


def tool(name):
    """A program of scripts/tools, as a module."""
    folder = str(ROOT / "scripts" / "tools")
    if folder not in sys.path:
        sys.path.append(folder)
    return importlib.import_module(name)


def threads_environment(threads):
    """The environment that limits a command to so many CPU threads, and suits glibc and OpenMP to training on a CPU.

    glibc keeps the memory of freed tensors. Otherwise it would request that memory again from the system, page by page,
    at every update. A thread of OpenMP that waits for the others soon sleeps. Otherwise it would keep its core busy
    where another program needs it. Variables that the user has set stay."""
    set_for_openmp = {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys()
    wanted = {**KEPT_MEMORY, **({} if set_for_openmp else SHORT_WAITS)}
    own = {name: value for name, value in wanted.items() if name not in os.environ}
    return {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads), **own}
