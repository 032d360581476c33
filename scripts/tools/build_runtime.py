"""Builds the wheel `fairseq-bso-runtime`: `translate` and `view` for machines without fairseq and torch.

    python scripts/tools/build_runtime.py [--out dist]
    pip install dist/fairseq_bso_runtime-*.whl

The wheel needs numpy, on Python 3.9 and newer; with the extra `view` also h5py, PyYAML and a web server. Its files are
those of the whole package: install one of the two. Nothing is downloaded.
"""

import argparse
import ast
import base64
import hashlib
import io
import os
import re
import runpy
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
exit_after = runpy.run_path(str(ROOT / "bso_runtime" / "endings.py"))["exit_after"]
NAME = "fairseq_bso_runtime"
METADATA = """Metadata-Version: 2.1
Name: fairseq-bso-runtime
Version: {version}
Summary: Models and captured states of fairseq-bso without fairseq and torch
License: MIT
Requires-Python: >=3.9
Requires-Dist: numpy>=1.21.3
Provides-Extra: sentencepiece
Requires-Dist: sentencepiece>=0.1.97,<0.3; extra == 'sentencepiece'
Provides-Extra: onnx
Requires-Dist: onnxruntime>=1.17,<2; extra == 'onnx'
Provides-Extra: view
{view}Description-Content-Type: text/markdown

`fairseq-bso translate MODEL < text` and `bso_runtime.Translator(MODEL).translate(lines)`, for models that
`fairseq-bso export` wrote. With the extra `view`, `fairseq-bso view DIR` and `fairseq_bso.interpret.show`, for the
states that `fairseq-bso states` wrote. Install either this or the package fairseq-bso, which holds it.
"""
WHEEL = """Wheel-Version: 1.0
Generator: {name}
Root-Is-Purelib: true
Tag: py3-none-any
"""
SCRIPTS = """[console_scripts]
fairseq-bso = bso_runtime.cli:main
"""


# The rooms of `fairseq-bso view`. The files that these import come along.
ROOMS = ("interpret/folder", "interpret/units", "interpret/view")
NEEDS_MODEL = "own_answers.py"  # with --model alone, which needs fairseq
PACKAGE = '''"""The part of fairseq_bso that shows captured states. The package fairseq-bso has all of it."""

__version__ = "{version}"
'''


def version():
    """The version of the package, read from its text."""
    return re.search(r'^__version__ = "(.+)"$', (ROOT / "fairseq_bso" / "__init__.py").read_text(), re.M).group(1)


def requirements(extra):
    """The packages of an extra of pyproject.toml."""
    listed = re.search(rf"^{extra} = \[(.+)\]$", (ROOT / "pyproject.toml").read_text(), re.M).group(1)
    return re.findall(r'"([^"]+)"', listed)


def viewer():
    """{name in the wheel: content} of what `fairseq-bso view` needs."""
    package = ROOT / "fairseq_bso"
    paths = {package / "cli.py"}
    for room in ROOMS:
        paths |= {path for path in (package / room).rglob("*") if path.is_file() and path.name != NEEDS_MODEL}
    left = [path for path in paths if path.suffix == ".py"]
    while left:
        added = imports(left.pop()) - paths
        paths |= added
        left += added
    found = {"fairseq_bso/py.typed": b""}
    for path in sorted(path for path in paths if "__pycache__" not in path.parts):
        found[path.relative_to(ROOT).as_posix()] = path.read_bytes()
    found["fairseq_bso/__init__.py"] = PACKAGE.format(version=version()).encode()
    return found


def imports(path):
    """The files of the package that a file imports as it is imported, and the packages around it."""
    found = {folder / "__init__.py" for folder in path.parents if ROOT in folder.parents}
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ImportFrom) and node.level and path != ROOT / "fairseq_bso" / "__init__.py":
            base = path.parents[node.level - 1].joinpath(*(node.module or "").split("."))
            for name in (base, *(base / alias.name for alias in node.names)):
                found |= {one for one in (name.with_suffix(".py"), name / "__init__.py") if one.is_file()}
    return found


def contents():
    """{name in the wheel: content} without the list of files."""
    info = f"{NAME}-{version()}.dist-info"
    found = {f"bso_runtime/{path.name}": path.read_bytes() for path in sorted((ROOT / "bso_runtime").glob("*.py"))}
    found["bso_runtime/py.typed"] = b""
    found.update(viewer())
    view = "".join(f"Requires-Dist: {one}; extra == 'view'\n" for one in requirements("interpret"))
    found[f"{info}/METADATA"] = METADATA.format(version=version(), view=view).encode()
    found[f"{info}/WHEEL"] = WHEEL.format(name=Path(__file__).name).encode()
    found[f"{info}/entry_points.txt"] = SCRIPTS.encode()
    found[f"{info}/LICENSE"] = (ROOT / "LICENSE").read_bytes()
    return found


def record(files):
    """The list of files with their checksums, as PEP 376 has it."""
    lines = []
    for name, content in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        lines.append(f"{name},sha256={digest},{len(content)}\n")
    return "".join(lines)


def build(folder):
    """Writes the wheel into a folder. Returns its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{NAME}-{version()}-py3-none-any.whl"
    files = contents()
    list_name = f"{NAME}-{version()}.dist-info/RECORD"
    files[list_name] = (record(files) + f"{list_name},,\n").encode()
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, content in files.items():
            wheel.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), content, zipfile.ZIP_DEFLATED)
    partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
    try:
        partial.write_bytes(memory.getvalue())
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return path


def main(arguments=None):
    """Builds the wheel and prints its path."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("dist"), help="folder for the wheel (default: %(default)s)")
    print(build(parser.parse_args(arguments).out))


if __name__ == "__main__":
    exit_after(main)
