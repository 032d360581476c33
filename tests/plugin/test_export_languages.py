"""`fairseq-bso export` with a folder of dictionaries alone, for a checkpoint that names no languages."""

from argparse import Namespace

import pytest
from reference import fakes

from fairseq_bso.errors import UserError
from fairseq_bso.export.vocabularies import dictionaries_of


@pytest.mark.parametrize("content", [b"word\n", b"h\xe9 3\n", b"a 3\na 2\n"])
def test_a_damaged_dictionary_is_named(tmp_path, content):
    for language in ("de", "en"):
        (tmp_path / f"dict.{language}.txt").write_bytes(content)
    arguments = Namespace(checkpoint="model.pt", data=str(tmp_path), source_lang="de", target_lang="en")
    with pytest.raises(UserError, match=r"the dictionary .*dict.de.txt cannot be read \("):
        dictionaries_of(arguments, {"cfg": {"task": {}}})


def test_languages_that_nothing_names_are_asked_for(tmp_path):
    """Which of two dictionaries is the source cannot be known. A data set or two options say it."""
    for language in ("de", "en"):
        fakes.dictionary(2).save(str(tmp_path / f"dict.{language}.txt"))
    arguments = Namespace(checkpoint="model.pt", data=str(tmp_path), source_lang=None, target_lang=None)
    state = {"cfg": {"task": {"source_lang": None, "target_lang": None}}}
    said = r"model.pt names no languages, .* \(dict.de.txt, dict.en.txt\): give --source-lang and --target-lang"
    with pytest.raises(UserError, match=said):
        dictionaries_of(arguments, state)
    arguments.source_lang, arguments.target_lang = "de", "en"
    assert set(dictionaries_of(arguments, state)) == {"source", "target"}
    arguments.source_lang = arguments.target_lang = None
    (tmp_path / "train.de-en.de.idx").touch()
    assert set(dictionaries_of(arguments, state)) == {"source", "target"}
