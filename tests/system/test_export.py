"""Exported models give fairseq-generate's output where neither fairseq nor torch is installed."""

import re
import subprocess
import sys
from pathlib import Path

import numpy
import pytest
from system_commands import PLUGIN, ROOT, run

from fairseq_bso import commands
from fairseq_bso.errors import BadInput


@pytest.fixture(scope="module")
def bare(tmp_path_factory):
    """Runs Python with numpy, bso_runtime and the standard library, and nothing else."""
    folder = tmp_path_factory.mktemp("bare")
    installed = Path(numpy.__file__).parents[1]
    for path in [*installed.glob("numpy"), *installed.glob("numpy.libs"), ROOT / "bso_runtime"]:
        (folder / path.name).symlink_to(path)
    start = "import sys; sys.path.insert(0, sys.argv.pop(1)); from bso_runtime.command import main; sys.exit(main())"

    def command(*arguments, text=None, code=start):
        line = [sys.executable, "-I", "-S", "-c", code, str(folder), *map(str, arguments)]
        return subprocess.run(line, capture_output=True, input=text, encoding="utf-8")

    return command


def generated(data, checkpoint, *options):
    """The best hypotheses of fairseq-generate, in order."""
    common = ["--user-dir", PLUGIN, "--task", "bso_translation", "--path", checkpoint, "--cpu"]
    output = run("generate", data, *common, *options).stdout
    found = {int(number): text for number, text in re.findall(r"^H-(\d+)\t\S+\t(.*)$", output, re.M)}
    return [found[number] for number in sorted(found)]


def test_there_is_neither_fairseq_nor_torch(bare):
    code = (
        "import sys; sys.path.insert(0, sys.argv.pop(1)); import importlib.util as u, numpy; "
        "print(*map(u.find_spec, ['fairseq', 'torch', 'fairseq_bso']))"
    )
    done = bare(code=code)
    assert done.stdout.split() == ["None"] * 3, done.stderr


@pytest.mark.parametrize("kind, beam", [("softmax", 5), ("unnormalized", 3)])
def test_translations_equal_those_of_fairseq_generate(
    data, softmax_checkpoint, bso_run, bare, tmp_path, capsys, kind, beam
):
    checkpoint = softmax_checkpoint if kind == "softmax" else bso_run[0]
    assert commands.main(["export", str(checkpoint), str(tmp_path / "model")]) == 0
    assert "bytes, float32" in capsys.readouterr().out
    done = bare("translate", tmp_path / "model", "--beam", beam, "--input", data.parent / "test.src")
    assert done.returncode == 0, done.stderr
    expected = generated(data, checkpoint, "--beam", beam)
    assert len(expected) == 30 and done.stdout.splitlines() == expected


def test_lines_are_streamed_and_scores_printed_in_every_form(data, softmax_checkpoint, bare, tmp_path):
    sizes = {}
    for numbers in ("float32", "float16", "int8"):
        assert commands.main(["export", str(softmax_checkpoint), str(tmp_path / numbers), "--numbers", numbers]) == 0
        sizes[numbers] = (tmp_path / numbers).stat().st_size
        done = bare("translate", tmp_path / numbers, "--beam", 1, "--print-scores", text="two one\n\nthree\n")
        assert re.fullmatch(r"(-?[\d.]+\t.*\n){3}", done.stdout), done.stderr
    assert sizes["float32"] > sizes["float16"] > sizes["int8"]


def test_bad_files_and_options_end_with_one_line(softmax_checkpoint, bare, tmp_path):
    assert commands.main(["export", str(softmax_checkpoint), str(tmp_path / "model")]) == 0
    (tmp_path / "short").write_bytes((tmp_path / "model").read_bytes()[:-7])
    for name, message in (("short", "damaged"), ("none", "cannot be read")):
        done = bare("translate", tmp_path / name, text="one\n")
        assert done.returncode == 1 and message in done.stderr and done.stderr.count("\n") == 1
    done = bare("translate", tmp_path / "model", "--beam", 0, text="one\n")
    assert done.returncode == 1 and "--beam must be at least 1" in done.stderr
    with pytest.raises(BadInput, match="give its folder with --data"):
        commands.main(["export", str(softmax_checkpoint), str(tmp_path / "out"), "--data", str(tmp_path)])
    with pytest.raises(BadInput, match="--sentencepiece .* cannot be read"):
        commands.main(
            ["export", str(softmax_checkpoint), str(tmp_path / "out"), "--sentencepiece", str(tmp_path / "no")]
        )
    assert not (tmp_path / "out").exists()


def test_onnx_files_are_written_with_their_metadata(softmax_checkpoint, tmp_path, capsys):
    onnx = pytest.importorskip("onnx")
    model = str(tmp_path / "out" / "model")
    assert commands.main(["export", str(softmax_checkpoint), model, "--format", "onnx"]) == 0
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["model.encoder.onnx", "model.step.onnx"]
    facts = {prop.key: prop.value for prop in onnx.load(model + ".step.onnx").metadata_props}
    assert '"scorer": "softmax"' in facts["facts"] and facts["target"].startswith("<s>\n<pad>\n</s>\n<unk>")
    with pytest.raises(BadInput, match="--numbers int8 is for --format compact"):
        commands.main(["export", str(softmax_checkpoint), model, "--format", "onnx", "--numbers", "int8"])
