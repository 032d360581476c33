"""user_dir_examples/translation/prepare_tatoeba.py: reading and dividing the pairs."""

import hashlib
import importlib.util
import lzma
import sys
import zipfile
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "user_dir_examples" / "translation"
LINES = "Go.\tGeh.\nGo.\tGehe!\nRun!\tLauf!\n"


@pytest.fixture
def prepare(monkeypatch):
    """The program as a module that accepts the file above instead of the real one."""
    monkeypatch.syspath_prepend(str(FOLDER))
    specification = importlib.util.spec_from_file_location("prepare_tatoeba", FOLDER / "prepare_tatoeba.py")
    module = importlib.util.module_from_spec(specification)
    others = sys.modules.pop("prepare", None)  # another example has a module of this name
    specification.loader.exec_module(module)
    del sys.modules["prepare"]
    if others is not None:
        sys.modules["prepare"] = others
    monkeypatch.setattr(module, "SHA256", hashlib.sha256(LINES.encode()).hexdigest())
    return module


def test_no_english_sentence_is_in_two_sets(prepare):
    # Sentences that differ in case and blanks alone count as the same.
    pairs = [(f"{word}  {number}.", f"{n} {number}") for number in range(2500) for n, word in enumerate(("Go", "go"))]
    sets = prepare.divide(pairs)
    sources = {name: {source for source, _ in part} for name, part in sets.items()}
    assert sum(map(len, sources.values())) == len(set().union(*sources.values())) == 2500
    assert len(sets["valid"]) == len(sets["test"]) == 1000
    assert len(sets["train"]) == 1000  # two translations each of the other 500
    assert all(target.startswith("0 ") for _, target in sets["test"])  # the first translation in the file


def test_the_file_is_read_however_it_is_packed(prepare, tmp_path):
    text, packed, archive = (tmp_path / name for name in ("deu.txt", "deu.txt.xz", "deu-eng.zip"))
    text.write_bytes(LINES.encode())
    packed.write_bytes(lzma.compress(LINES.encode()))
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("deu.txt", LINES)
    for path in (text, packed, archive):
        assert prepare.read_pairs(path) == [["Go.", "Geh."], ["Go.", "Gehe!"], ["Run!", "Lauf!"]]


@pytest.mark.parametrize("name", ["deu.txt", "deu.txt.xz", "deu-eng.zip"])
def test_a_file_that_is_another_one_is_one_message(prepare, tmp_path, name):
    with pytest.raises(SystemExit, match=f"{name}: .*; needed is deu.txt"):
        prepare.read_pairs(tmp_path / name)
    (tmp_path / name).write_bytes(b"Go.\tGeh.\n")
    with pytest.raises(SystemExit, match=f"{name}: (.*; needed is deu.txt|sha256 of its deu.txt is .* fetch it again)"):
        prepare.read_pairs(tmp_path / name)


def test_every_damaged_byte_of_an_archive_is_one_message_or_harmless(prepare, tmp_path):
    path = tmp_path / "deu-eng.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("deu.txt", LINES)
    whole, messages = path.read_bytes(), []
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0x81]) + whole[place + 1 :])
        try:
            assert len(prepare.read_pairs(path)) == 3
        except SystemExit as problem:
            messages.append(str(problem))
    assert len(messages) > 50 and all("needed is deu.txt" in message for message in messages)
