"""scripts/tools/build_runtime.py: the wheel holds what pip needs, and runs without fairseq and torch."""

import ast
import base64
import hashlib
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import build_runtime
import pytest

ROOT = Path(build_runtime.ROOT)
VIEWER = "h5py yaml waitress flask werkzeug jinja2 markupsafe itsdangerous click blinker numpy".split()


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    return build_runtime.build(tmp_path_factory.mktemp("dist"))


def installed(wheel, site, packages):
    """Unpacks the wheel beside some packages of this environment. Returns a function that runs code there alone."""
    with zipfile.ZipFile(wheel) as files:
        files.extractall(site)
    for name in packages:
        found = Path(importlib.import_module(name).__file__)
        found = found.parent if found.name == "__init__.py" else found
        for path in (found, found.with_name(f"{name}.libs")):
            if path.exists():
                (site / path.name).symlink_to(path)

    def run(code, *words):
        # -S: without the packages of this environment
        return subprocess.run(
            [sys.executable, "-S", "-c", code, *map(str, words)],
            env={**os.environ, "PYTHONPATH": str(site), "COLUMNS": "200"},
            cwd=site.parent,
            capture_output=True,
            text=True,
        )

    return run


COMMAND = "import sys, bso_runtime.cli; sys.exit(bso_runtime.cli.main(sys.argv[1:]))"


def test_the_wheel_holds_what_pip_needs(wheel):
    again = wheel.read_bytes()
    assert build_runtime.build(wheel.parent) == wheel and wheel.read_bytes() == again
    assert [wheel] == list(wheel.parent.iterdir())
    with zipfile.ZipFile(wheel) as files:
        (record,) = [name for name in files.namelist() if name.endswith(".dist-info/RECORD")]
        rows = [line.split(",") for line in files.read(record).decode().splitlines()]
        for name, digest, size in rows[:-1]:
            content = files.read(name)
            expected = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")
            assert digest == f"sha256={expected}" and int(size) == len(content)
        assert sorted(name for name, _, _ in rows) == sorted(files.namelist())
        metadata = files.read(record.replace("RECORD", "METADATA")).decode()
    for package in ("flask", "h5py", "pyyaml", "waitress"):
        assert re.search(f"^Requires-Dist: {package}>=[0-9.]+,<[0-9]+; extra == 'view'$", metadata, re.M)


def test_the_wheel_translates_with_numpy_alone(wheel, tmp_path):
    run = installed(wheel, tmp_path / "site", ["numpy"])
    done = run(COMMAND, "translate", "no")
    assert done.returncode == 1 and done.stderr == "no cannot be read: No such file or directory\n"
    done = run(COMMAND, "view", "no")
    assert done.returncode == 1 and len(done.stderr.splitlines()) == 1
    assert re.match("fairseq-bso view needs the package h5py: pip install .*'fairseq-bso-runtime.view.'", done.stderr)


def test_the_wheel_shows_states_without_fairseq_and_torch(wheel, tmp_path):
    run = installed(wheel, tmp_path / "site", VIEWER)
    shutil.copytree(ROOT / "tests" / "old_files" / "states", tmp_path / "states")
    address = "view=unit&side=decoder&unit=hidden1:1"
    done = run(COMMAND, "view", "states", "--index", "--export", "made/finding.html", "--address", address)
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "made" / "finding.html").read_text(encoding="utf-8")
    assert '"unit":"hidden1:1"' in page and "d3" in page
    code = "from fairseq_bso.interpret import show; import sys; "
    code += "print(show('states', view='unit', unit='hidden1:1', side='decoder')._repr_html_()); "
    code += "assert not {'torch', 'fairseq', 'IPython'} & set(sys.modules)"
    done = run(code)
    assert done.returncode == 0 and done.stdout.startswith("<iframe"), done.stderr
    code = "import sys; from bso_runtime.cli import main; from fairseq_bso.interpret.view import server; "
    code += "from werkzeug.test import Client; server.serve = lambda answers, *more: print(Client("
    code += "server.make_app(answers)).get('/api/statistics?side=decoder&track=loss').text); "
    done = run(code + "sys.exit(main(sys.argv[1:]))", "view", "states")
    assert done.returncode == 0 and json.loads(done.stdout)["criterion"] == "correlation", done.stderr


@pytest.mark.parametrize(
    "words, what",
    [
        (["states", "x", "--out", "y"], "states"),
        (["user-dir"], "user-dir"),
        (["view", "x", "--model", "y"], "view --model"),
    ],
)
def test_the_wheel_names_the_package_that_has_the_rest(wheel, tmp_path, words, what):
    run = installed(wheel, tmp_path / "site", ["numpy"])
    done = run(COMMAND, *words)
    wanted = f"{what} needs fairseq: install the package fairseq-bso in place of fairseq-bso-runtime\n"
    assert (done.returncode, done.stdout, done.stderr) == (1, "", wanted)
    shown = run(COMMAND, "--help").stdout
    assert re.findall("^    ([a-z-]+)(?: |$)", shown, re.M) == ["translate", "view"]


def test_the_runtime_is_in_the_grammar_of_python_3_9():
    """The wheel says that it runs there, and a newer grammar would fail on import."""
    for name, content in build_runtime.contents().items():
        if name.endswith(".py"):
            ast.parse(content, feature_version=(3, 9))
