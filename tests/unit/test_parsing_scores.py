"""user_dir_examples/dependency_parsing/evaluate.py."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parsing_example import CHAIN, DEVELOPMENT, SAMPLE, SHORT, conllu, evaluate, treebank, write

Tree = treebank.Tree


@pytest.fixture
def sample(tmp_path):
    return write(tmp_path / "sample.conllu", SAMPLE)


def test_scores_counted_by_hand(tmp_path):
    """4 of 5 words have the right head; 3 of these have the right relation, 2 if `nsubj:pass` differs from `nsubj`."""
    gold = [("a", 2, "nsubj:pass", "X"), ("b", 0, "root", "X"), ("c", 2, "obj", "X"), (".", 2, "punct", "PUNCT")]
    other = [("a", 2, "nsubj", "X"), ("b", 0, "root", "X"), ("c", 4, "obj", "X"), (".", 2, "dep", "PUNCT")]
    files = [write(tmp_path / name, conllu(words, SHORT)) for name, words in (("gold", gold), ("predicted", other))]
    assert evaluate.evaluate(*files) == {
        "all": {"uas": 80.0, "las": 60.0, "words": 5},
        "no_punct": {"uas": 75.0, "las": 75.0, "words": 4},
    }
    assert evaluate.evaluate(*files, exact_labels=True)["all"] == {"uas": 80.0, "las": 40.0, "words": 5}


def test_a_file_is_all_right_against_itself(sample, capsys):
    evaluate.main([str(sample), str(sample)])
    assert capsys.readouterr().out.split("\n")[1:3] == [
        "all words            100.00  100.00        7",
        "without punctuation  100.00  100.00        6",
    ]


@pytest.mark.parametrize(
    "predicted, message",
    [
        (conllu(SHORT), "predicted: has no counterpart of .*gold, line 3"),
        (conllu(SHORT, CHAIN, SHORT), "gold: has no counterpart of .*predicted, line 7"),
        (conllu(SHORT, [*CHAIN[:2], ("x", 0, "root")]), "word 3 is x, but 10 000 in .*gold, line 3"),
        (conllu(SHORT, [("The", 2, "det"), ("cat", 0, "root")]), "word 3 is nothing, but 10 000"),
    ],
)
def test_files_of_different_words_are_refused(tmp_path, predicted, message):
    gold, other = write(tmp_path / "gold", conllu(SHORT, CHAIN)), write(tmp_path / "predicted", predicted)
    with pytest.raises(SystemExit, match=message):
        evaluate.evaluate(gold, other)


@pytest.fixture(scope="module")
def shipped():
    """The sentences of a shipped file, each as CoNLL-U text."""
    return treebank.read_treebank(DEVELOPMENT).text().rstrip("\n").split("\n\n")


def test_scores_of_a_whole_file_are_those_of_the_official_evaluator(tmp_path, shipped):
    found = compare_with_the_official_evaluator(tmp_path, shipped, seed=1)
    assert found["words"] == 25147 and found["las"] < found["uas"] < 100


@settings(max_examples=30)
@given(st.integers(0, 1900), st.integers(1, 60), st.integers(0, 1000))
def test_scores_of_a_few_sentences_are_those_of_the_official_evaluator(tmp_path_factory, shipped, first, count, seed):
    compare_with_the_official_evaluator(tmp_path_factory.mktemp("scores"), shipped[first : first + count], seed)


def compare_with_the_official_evaluator(folder, sentences, seed):
    """Scores sentences with errors in some trees, as udtools does, the official tools of Universal Dependencies."""
    udeval = pytest.importorskip("udtools.udeval")
    generator, files = random.Random(seed), [folder / "gold.conllu", folder / "predicted.conllu"]
    bank = treebank.read_treebank(write(files[0], "".join(f"{sentence}\n\n" for sentence in sentences)))
    trees = [spoil(sentence.tree(), generator) for sentence in bank.nonempty]
    write(files[1], bank.text(trees))
    options = "no_gapping no_shared_parents_in_coordination no_shared_dependents_in_coordination no_control"
    options += " no_external_arguments_of_relative_clauses no_case_info no_empty_nodes multiple_roots_okay"
    kind = dict.fromkeys(options.split(), False)
    expected = udeval.evaluate(*(udeval.load_conllu_file(str(path), kind) for path in files))
    found = evaluate.evaluate(*files)["all"]
    assert found["words"] == expected["UAS"].gold_total
    assert found["uas"] == pytest.approx(100 * expected["UAS"].f1)
    assert found["las"] == pytest.approx(100 * expected["LAS"].f1)
    return found


def spoil(tree, generator):
    """A tree in which some heads and some relations are replaced."""
    heads, relations = list(tree.heads), list(tree.relations)
    for place in range(len(heads)):
        old = heads[place]
        if old and generator.random() < 0.3:
            heads[place] = generator.randint(1, len(heads))
            heads[place] = old if treebank.find_cycle(heads) else heads[place]
        if old and generator.random() < 0.3:
            relations[place] = generator.choice(["nsubj", "nsubj:pass", relations[place].split(":")[0]])
    return Tree(heads, relations)
