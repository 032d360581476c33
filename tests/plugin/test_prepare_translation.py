"""user_dir_examples/translation/prepare.py on small files instead of Multi30k."""

import gzip
import hashlib
import importlib.util
import random
from pathlib import Path

import pytest
from fairseq.data import Dictionary, data_utils
from system_commands import SUBPROCESS_WITH_FORKS

PROGRAM = Path(__file__).parents[2] / "user_dir_examples" / "translation" / "prepare.py"
WORDS = {
    "de": "ein Mann Hund läuft über die grüne Straße und springt in das Wasser".split(),
    "en": "a man dog runs across the green street and jumps into that water".split(),
}


@pytest.fixture
def prepare(monkeypatch):
    specification = importlib.util.spec_from_file_location("prepare_translation", PROGRAM)
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.fixture
def packed(prepare, monkeypatch, tmp_path):
    """A folder with the file names of Multi30k. The program expects the checksums of these files."""
    folder, chance = tmp_path / "packed", random.Random(1)
    folder.mkdir()
    sums = {}
    for name in prepare.SETS.values():
        places = [chance.choices(range(13), k=8) for _ in range(400 if name == "train" else 5)]
        for language, words in WORDS.items():
            text = "".join(" ".join(words[place] for place in line) + ".\n" for line in places)
            (folder / f"{name}.{language}.gz").write_bytes(gzip.compress(text.encode()))
            sums[f"{name}.{language}.gz"] = hashlib.sha256((folder / f"{name}.{language}.gz").read_bytes()).hexdigest()
    assert sums.keys() == prepare.SHA256.keys()
    monkeypatch.setattr(prepare, "SHA256", sums)
    return folder


@pytest.mark.parametrize("direction, options", [("de-en", []), ("en-de", ["--target-lang", "de"])])
def test_either_direction(prepare, packed, tmp_path, monkeypatch, direction, options):
    monkeypatch.setattr(prepare, "subprocess", SUBPROCESS_WITH_FORKS)
    out = tmp_path / "m30k"
    prepare.main(["--out", str(out), "--from", str(packed), "--vocab", "80", *options])
    for subset, name in prepare.SETS.items():
        for language in WORDS:
            plain = (out / "text" / f"{subset}.{language}").read_text(encoding="utf-8")
            assert plain == gzip.decompress((packed / f"{name}.{language}.gz").read_bytes()).decode().lower()
            dictionary = Dictionary.load(str(out / "data-bin" / f"dict.{language}.txt"))
            binary = data_utils.load_indexed_dataset(str(out / "data-bin" / f"{subset}.{direction}.{language}"))
            lines = [dictionary.string(line, bpe_symbol="sentencepiece") for line in binary]
            assert lines == plain.splitlines()


def test_an_altered_file_is_refused_and_not_kept(prepare, packed, tmp_path):
    (packed / "val.de.gz").write_bytes(gzip.compress(b"other\n"))
    with pytest.raises(SystemExit, match="val.de.gz: sha256 is .* this is not Multi30k at commit .* fetch it again"):
        prepare.main(["--out", str(tmp_path / "out"), "--from", str(packed)])
    assert not list((tmp_path / "out" / "raw").glob("val.de*"))
    (packed / "val.de.gz").unlink()
    with pytest.raises(SystemExit, match="--from .* holds no val.de.gz; needed are train.de.gz, "):
        prepare.main(["--out", str(tmp_path / "out"), "--from", str(packed)])


def test_a_folder_that_is_there_is_not_replaced(prepare, packed, tmp_path):
    (tmp_path / "out" / "data-bin").mkdir(parents=True)
    with pytest.raises(SystemExit, match="data-bin is there already; remove it or name another folder"):
        prepare.main(["--out", str(tmp_path / "out"), "--from", str(packed)])
