"""`translate` as a program: streams and pipes, and files, options and lines that are refused in one line."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from system_commands import ROOT

from bso_runtime import files, model_file
from fairseq_bso import cli
from fairseq_bso.errors import UserError


def test_each_line_is_written_before_the_next_is_read(softmax_checkpoint, tmp_path):
    assert cli.main(["export", str(softmax_checkpoint), str(tmp_path / "model")]) == 0
    line = [sys.executable, "-m", "bso_runtime", "translate", str(tmp_path / "model"), "--beam", "1"]
    pipe = subprocess.PIPE
    with subprocess.Popen(line, stdin=pipe, stdout=pipe, cwd=ROOT, encoding="utf-8") as running:
        for words in ("two one", "three", ""):
            running.stdin.write(words + "\n")
            running.stdin.flush()
            assert running.stdout.readline().endswith("\n")
        assert running.communicate() == ("", None) and running.returncode == 0


def test_bad_files_and_options_end_with_one_line(softmax_checkpoint, translate, tmp_path):
    assert cli.main(["export", str(softmax_checkpoint), str(tmp_path / "model")]) == 0
    (tmp_path / "short").write_bytes((tmp_path / "model").read_bytes()[:-7])
    for name, message in (("short", "damaged"), ("none", "cannot be read")):
        done = translate(tmp_path / name, text="one\n")
        assert done.returncode == 1 and message in done.stderr and done.stderr.count("\n") == 1
    for option, message in (
        (["--successors", "tree"], "--successors tree: unknown constraint: choose from none, word_order"),
        (["--successors", "arc_standard"], "the target dictionary has no reduce label"),
        (["--input", "nothing"], "nothing: No such file or directory"),
        (["--output", "."], ".: Is a directory"),
    ):
        done = translate(tmp_path / "model", *option, text="one\n")
        assert done.returncode == 1 and message in done.stderr and done.stderr.count("\n") == 1
    for option, message in (
        (["--beam", 0], "argument --beam: it is '0', but must be a whole number of at least 1"),
        (["--batch-size", "2.5"], "argument --batch-size: it is '2.5', but must be a whole number of at least 1"),
        (["--max-len-a", "nan"], "argument --max-len-a: it is 'nan', but must be a number of at least 0"),
        (["--lenpen", "400"], "argument --lenpen: it is '400', but must be a number from -10 to 10\n"),
    ):
        done = translate(tmp_path / "model", *option, text="one\n")
        assert done.returncode == 2 and message in done.stderr
    model = model_file.read(tmp_path / "model")
    config = replace(model.config, successors="my_own")
    model_file.write(tmp_path / "own", model._replace(config=config), "float32")
    done = translate(tmp_path / "own", text="one\n")
    assert done.returncode == 1 and "was trained with --successors my_own, which is not known here" in done.stderr
    assert translate(tmp_path / "own", "--successors", "none", text="one\n").stdout.count("\n") == 1
    with pytest.raises(UserError, match="names no languages, and .* give --source-lang and --target-lang"):
        cli.main(["export", str(softmax_checkpoint), str(tmp_path / "out"), "--data", str(tmp_path)])
    with pytest.raises(UserError, match="--sentencepiece .* cannot be read"):
        cli.main(["export", str(softmax_checkpoint), str(tmp_path / "out"), "--sentencepiece", str(tmp_path / "no")])
    assert not (tmp_path / "out").exists()


def test_a_line_that_is_not_utf_8_is_named_and_half_an_output_is_not_left(softmax_checkpoint, translate, tmp_path):
    assert cli.main(["export", str(softmax_checkpoint), str(tmp_path / "model")]) == 0
    text, output = tmp_path / "text", tmp_path / "output"
    text.write_bytes(b"two one\nz\xfcrich\n")
    output.write_text("what was there\n")
    done = translate(tmp_path / "model", "--input", text, "--output", output)
    assert done.returncode == 1 and done.stderr.startswith(f"{text}, line 2: byte 0xfc is not UTF-8")
    assert done.stderr.count("\n") == 1 and output.read_text() == "what was there\n"
    assert not list(tmp_path.glob("*.part"))
    text.write_bytes(b"two one\r\nthree\r\n")
    assert translate(tmp_path / "model", "--input", text, "--output", output).returncode == 0
    assert output.read_text() == translate(tmp_path / "model", text="two one\nthree\n").stdout


def test_links_and_pipes_are_written_through(tmp_path):
    (tmp_path / "there").write_text("old")
    (tmp_path / "link").symlink_to("there")
    with files.atomic_write(tmp_path / "link", "w") as file:
        file.write("new")
    assert (tmp_path / "link").is_symlink() and (tmp_path / "there").read_text() == "new"
    os.mkfifo(tmp_path / "pipe")
    with ThreadPoolExecutor(1) as reader:
        read = reader.submit((tmp_path / "pipe").read_text)
        with files.atomic_write(tmp_path / "pipe", "w") as file:
            file.write("through")
        assert read.result() == "through" and (tmp_path / "pipe").is_fifo()


def test_in_a_batch_the_lines_before_a_bad_one_are_translated(softmax_checkpoint, tmp_path):
    assert cli.main(["export", str(softmax_checkpoint), str(tmp_path / "model")]) == 0
    line = [sys.executable, "-m", "bso_runtime", "translate", str(tmp_path / "model"), "--batch-size", "4"]
    done = subprocess.run(line, input=b"two one\nthree\nz\xfcrich\none\n", capture_output=True, cwd=ROOT)
    assert done.returncode == 1 and done.stdout.count(b"\n") == 2 and b"standard input, line 3" in done.stderr


def test_a_reader_that_stops_early_and_a_full_disk(softmax_checkpoint, tmp_path):
    assert cli.main(["export", str(softmax_checkpoint), str(tmp_path / "model")]) == 0
    line = [sys.executable, "-m", "bso_runtime", "translate", str(tmp_path / "model"), "--beam", "1"]
    pipe = subprocess.PIPE
    with subprocess.Popen(line, stdin=pipe, stdout=pipe, stderr=pipe, cwd=ROOT, encoding="utf-8") as running:
        running.stdin.write("two one\n")
        running.stdin.flush()
        running.stdout.readline()
        running.stdout.close()
        running.stdin.write("two one\n")
        running.stdin.close()
        assert running.stderr.read() == "" and running.wait() == 0
    if Path("/dev/full").exists():
        with open("/dev/full", "w") as full:
            done = subprocess.run(line, input=b"two one\n", stdout=full, stderr=pipe, cwd=ROOT)
        assert done.returncode == 1 and done.stderr == b"standard output: No space left on device\n"
