"""The scripts that prepare data, when two processes meet in one output or one was killed before its end."""

import importlib.util
import sys
from pathlib import Path
from threading import Event, Thread

import outputs
import prepare_word_ordering
import pytest
from parsing_example import prepare as parsing
from parsing_example import treebank, write

from fairseq_bso.locks import alone

TRANSLATION = Path(parsing.__file__).parents[1] / "translation"
BANK = "1\tdogs\t_\tNOUN\t_\t_\t2\tnsubj\t_\t_\n2\tbark\t_\tVERB\t_\t_\t0\troot\t_\t_\n\n"


def module(path, monkeypatch):
    """A script as a module. Several have the same name."""
    monkeypatch.syspath_prepend(str(path.parent))
    monkeypatch.delitem(sys.modules, "prepare", raising=False)
    specification = importlib.util.spec_from_file_location(f"{path.parent.name}_{path.stem}", path)
    made = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(made)
    monkeypatch.delitem(sys.modules, "prepare", raising=False)
    return made


@pytest.fixture
def programs(monkeypatch, tmp_path):
    """{name: a function that prepares data in a folder}."""
    bank, text = write(tmp_path / "some.conllu", BANK), tmp_path / "text"
    text.write_text("a b c\nc b a d\n")
    banks, texts = ([f"--{name}={path}" for name in ("train", "valid", "test")] for path in (bank, text))
    multi30k, tatoeba = (module(TRANSLATION / f"{name}.py", monkeypatch) for name in ("prepare", "prepare_tatoeba"))
    monkeypatch.setattr(parsing, "binarise", lambda *_: None)
    return {
        "parsing": lambda out: parsing.main([*banks, "--out", str(out)]),
        "word ordering": lambda out: prepare_word_ordering.main([*texts, "--out", str(out), "--min-len", "1"]),
        "multi30k": lambda out: multi30k.main(["--out", str(out), "--from", str(tmp_path)]),
        "tatoeba": lambda out: tatoeba.main(["--out", str(out), "--from", str(text)]),
    }


NAMES = ("parsing", "word ordering", "multi30k", "tatoeba")


@pytest.mark.parametrize("name", NAMES)
def test_the_second_of_two_is_refused_and_touches_nothing(programs, tmp_path, name):
    out, partial = tmp_path / "out", tmp_path / "out.partial"
    with alone(tmp_path / "out.lock"):
        partial.mkdir()
        (partial / "text").write_text("of the first process")
        with pytest.raises(SystemExit, match=f"--out {out}: another process writes it now; wait until it has ended"):
            programs[name](out)
        assert (partial / "text").read_text() == "of the first process"
    assert not out.exists()


@pytest.mark.parametrize("name", NAMES[:2])
def test_what_a_killed_process_left_is_not_in_the_result(programs, tmp_path, name):
    out = tmp_path / "out"
    programs[name](out)
    expected = sorted(path.name for path in out.iterdir())
    other = tmp_path / "other"
    (tmp_path / "other.partial").mkdir()
    (tmp_path / "other.partial" / "old").touch()
    (tmp_path / "other.lock").touch()  # a lock of a process that has ended holds nothing
    programs[name](other)
    assert sorted(path.name for path in other.iterdir()) == expected
    assert not list(tmp_path.glob("*.partial")) and not list(tmp_path.glob("*.lock"))
    with pytest.raises(SystemExit, match=f"--out {other}: is there already"):
        programs[name](other)


def test_a_failure_leaves_nothing(programs, tmp_path):
    (tmp_path / "text").write_text("")
    with pytest.raises(SystemExit):
        programs["word ordering"](tmp_path / "out")
    (tmp_path / "some.conllu").write_text("")
    with pytest.raises(SystemExit):
        programs["parsing"](tmp_path / "out")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["some.conllu", "text"]


@pytest.mark.parametrize("writer", [treebank.write_text, lambda path, text: outputs.write_whole(Path(path), text)])
def test_a_second_file_waits_for_the_first(tmp_path, writer):
    path, began = tmp_path / "file", Event()

    def second():
        began.set()
        writer(path, "second")

    thread = Thread(target=second)
    with alone(tmp_path / "file.lock"):
        thread.start()
        began.wait()
        thread.join(0.2)
        assert [one.name for one in tmp_path.iterdir()] == ["file.lock"]
    thread.join()
    assert path.read_text() == "second" and [one.name for one in tmp_path.iterdir()] == ["file"]
