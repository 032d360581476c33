"""The environment of the package: versions of Python and of libraries, threads, processor, GPU."""

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Iterator, List, Tuple

Row = Tuple[str, str]

FAIRSEQS = ("fairseq-fixed", "fairseq", "ve-fairseq")
"""packages that install the module fairseq"""
LIBRARIES = (
    ("torch", "needed for everything but `translate`"),
    ("numpy", "needed for everything"),
    ("sacrebleu", "needed for BLEU and costs of texts"),
    ("sentencepiece", "needed for subword models"),
    ("onnxruntime", "needed to translate with ONNX graphs"),
    ("h5py", "needed for `states` and `view`"),
    ("flask", "needed for `view`"),
)
FLAGS = ("avx2", "avx512f", "avx512_bf16", "amx_bf16", "asimd", "bf16")


def version_of(package: str) -> str:
    """The installed version of a package, "" if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def library_rows() -> Iterator[Row]:
    """Python, fairseq under the name of its package, and the other libraries."""
    yield "Python", f"{platform.python_version()} on {platform.system()} {platform.machine()}"
    found = [f"{name} {version_of(name)}" for name in FAIRSEQS if version_of(name)]
    yield "fairseq", ", ".join(found) or "not installed: needed for training and for decoding of checkpoints"
    for name, use in LIBRARIES:
        yield name, version_of(name) or f"not installed: {use}"


def processor_flags(cpuinfo: Path = Path("/proc/cpuinfo")) -> List[str]:
    """The processor's features that speed products up, in the order of FLAGS; none where the system does not tell."""
    try:
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return []
    words = {word for line in lines if line.lower().startswith(("flags", "features")) for word in line.split()}
    return [flag for flag in FLAGS if flag in words]


def torch_rows() -> Iterator[Row]:
    """Threads, processor and GPU. Raises ImportError without torch."""
    import torch

    given = os.environ.get("OMP_NUM_THREADS")
    yield "threads", f"{torch.get_num_threads()} of {os.cpu_count()}" + (f", OMP_NUM_THREADS={given}" if given else "")
    yield "processor", ", ".join(processor_flags()) or "features unknown"
    gpus = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    yield "GPU", ", ".join(gpus) or "none"
