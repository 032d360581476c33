"""The words and tracks that the interpretation recipes write before training."""

import random

import pytest
from interpretation_example import FOLDER, recipe
from parsing_example import treebank

parentheses, books, phrases = (recipe(name) for name in ("parentheses", "books", "phrases"))


def test_numbers_of_the_parentheses_language_are_its_depth():
    generator = random.Random(1)
    for _ in range(200):
        words, depths = parentheses.sentence(generator, generator.randint(1, 40))
        depth = 0
        for word, expected in zip(words, depths):
            depth += {"(": 1, ")": -1}.get(word, 0)
            assert expected == depth <= parentheses.DEEPEST
            assert word in "()" or word == str(depth)
        assert depth == 0 and len(words) == len(depths)


def test_straight_quotation_marks_open_and_close_in_turn():
    words = books.curled('" dear me " , she said , " dear " .'.split())
    assert words == "“ dear me ” , she said , “ dear ” .".split()
    inside = [word for word, where in zip(words, books.speech(words)) if where == "inside"]
    assert inside == "“ dear me “ dear".split()


def test_every_bundled_book_is_read_without_the_licence():
    paths = sorted((FOLDER / "data").glob("*.xz"))
    assert len(paths) == 4
    for path in paths:
        found = books.paragraphs(path)
        words = {word for paragraph in found for word in paragraph}
        assert len(found) > 800 and "“" in words and '"' not in words
        assert not any("gutenberg-tm" in " ".join(paragraph) for paragraph in found)


@pytest.mark.parametrize(
    "heads, relations, wanted",
    [
        # The sentence is "she sat on the old mat .".
        ([2, 0, 6, 6, 6, 2, 2], "nsubj root case det amod obl punct".split(), "..ppp.."),
        # In "the dog 's tail", 's follows its noun and marks no phrase.
        ([2, 4, 2, 0], "det nmod case root".split(), "...."),
    ],
)
def test_a_prepositional_phrase_goes_from_its_preposition_to_its_noun(heads, relations, wanted):
    labels = phrases.prepositional(treebank.Tree(heads, relations))
    assert "".join("p" if label == "prepositional" else "." for label in labels) == wanted


def test_a_target_symbol_has_the_label_of_its_word_or_of_the_dependent_of_its_arc():
    # The cat sat on the old mat. The arcs of `on`, `the` and `old` come before that of their noun.
    symbols = "the cat @L_det sat @L_nsubj on the old mat @L_amod @L_det @L_case @R_obl".split()
    labels = [*["other"] * 3, *["prepositional"] * 3, "other"]
    wanted = "ow ow oa ow oa pw pw pw ow pa pa pa oa".split()
    found = phrases.of_target(symbols, labels)
    assert ["".join(part[0] for part in label.split("-")) for label in found] == wanted
