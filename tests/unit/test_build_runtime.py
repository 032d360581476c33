"""scripts/tools/build_runtime.py: the wheel holds what pip needs, and runs where there is numpy alone."""

import ast
import base64
import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import build_runtime
import numpy


def test_the_wheel_runs_with_numpy_alone(tmp_path):
    wheel = build_runtime.build(tmp_path)
    assert wheel == build_runtime.build(tmp_path) and [wheel] == list(tmp_path.iterdir())
    with zipfile.ZipFile(wheel) as files:
        files.extractall(tmp_path / "site")
        (record,) = [name for name in files.namelist() if name.endswith(".dist-info/RECORD")]
        rows = [line.split(",") for line in files.read(record).decode().splitlines()]
        for name, digest, size in rows[:-1]:
            content = files.read(name)
            expected = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
            assert digest == f"sha256={expected}" and int(size) == len(content)
        assert sorted(name for name, _, _ in rows) == sorted(files.namelist())
    packages = Path(numpy.__file__).parent
    for path in (packages, packages.with_name("numpy.libs")):
        if path.is_dir():
            (tmp_path / "site" / path.name).symlink_to(path)
    # -S: without the packages of this environment
    done = subprocess.run(
        [
            sys.executable,
            "-S",
            "-c",
            "import sys, bso_runtime.cli; sys.exit(bso_runtime.cli.main(['translate', 'no']))",
        ],
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1 and done.stderr == "no cannot be read: No such file or directory\n"


def test_the_runtime_is_in_the_grammar_of_python_3_9():
    """The wheel says that it runs there, and a newer grammar would fail on import."""
    for name, content in build_runtime.contents().items():
        if name.endswith(".py"):
            ast.parse(content, feature_version=(3, 9))
