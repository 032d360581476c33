"""user_dir_examples/dependency_parsing: sequences and trees, symbols, CoNLL-U."""

import gzip
import lzma
import random
from itertools import accumulate

import pytest
from hypothesis import given
from hypothesis import strategies as st
from parsing_example import DEVELOPMENT, SAMPLE, evaluate, symbols, transitions, treebank, write
from reference import dependency_trees

Tree = treebank.Tree


@pytest.fixture
def sample(tmp_path):
    return write(tmp_path / "sample.conllu", SAMPLE)


@st.composite
def projective_trees(draw, most=12):
    """A random projective tree: a random sequence of shifts and reduces, with random relations."""
    words = draw(st.integers(1, most))
    relations = st.sampled_from(["nsubj", "nsubj:pass", "dep", "a b", "x\\", "@L_", "_"])
    tree, stack, shifted = Tree([0] * words, ["root"] * words), [], 0
    while shifted < words or len(stack) > 1:
        if len(stack) < 2 or (shifted < words and draw(st.booleans())):
            shifted += 1
            stack.append(shifted)
        else:
            dependent = stack.pop(draw(st.sampled_from([-1, -2])))
            tree.heads[dependent - 1], tree.relations[dependent - 1] = stack[-1], draw(relations)
    return tree


# ---- sequences and trees


@given(projective_trees())
def test_a_projective_tree_comes_back_whole(tree):
    words = [f"w{number % 3}" for number in range(len(tree.heads))]
    actions = transitions.to_actions(words, tree)
    assert len(actions) == 2 * len(words) - 1
    assert [symbol for symbol in actions if not symbols.is_reduce(symbol)] == words
    assert all(symbol.split() == [symbol] for symbol in actions)
    assert transitions.to_tree(actions, len(words)) == (tree, [])


@pytest.mark.parametrize("words", [1, 2, 3, 4, 5])
def test_every_small_tree_against_all_its_derivations(words):
    """The oracle's sequence has the earliest reduces. A sequence exists exactly if the tree is projective."""
    for heads in dependency_trees.all_trees(words):
        tree = Tree(heads, [f"r{word}" for word in range(words)])
        expected = dependency_trees.first_derivation(heads)
        actions = transitions.to_actions(["w"] * words, tree)
        if expected is not None:
            expected = ["w" if step == "shift" else f"{step[0]}r{step[1] - 1}" for step in expected]
        assert actions == expected
        assert (actions is not None) == dependency_trees.is_projective(heads) == (not transitions.non_projective(heads))


def test_a_hand_traced_sentence():
    """The sentence is "the cat sat on it", its arcs are the <- cat <- sat -> it -> on.

    `on` is below `it` on the stack: `it` takes `on`, and then `sat` takes `it`.
    """
    tree = Tree([2, 3, 0, 5, 3], ["det", "nsubj", "root", "case", "obl"])
    actions = transitions.to_actions("the cat sat on it".split(), tree)
    assert actions == "the cat @L_det sat @L_nsubj on it @L_case @R_obl".split()


@given(st.integers(2, 9), st.randoms(use_true_random=False))
def test_lifting_makes_any_tree_projective_and_leaves_projective_ones_alone(words, generator):
    order = random.Random(generator.random()).sample(range(1, words + 1), words)
    heads = [0] * words
    for place, word in enumerate(order[1:], start=1):
        heads[word - 1] = order[generator.randrange(place)]
    lifted = transitions.projectivise(heads)
    assert dependency_trees.is_tree(lifted) and dependency_trees.is_projective(lifted)
    assert (lifted == heads) == dependency_trees.is_projective(heads)
    for word, head in enumerate(lifted, start=1):
        assert head == heads[word - 1] or head in dependency_trees.ancestors(heads, word)


@pytest.mark.parametrize(
    "actions, words, heads, fault",
    [
        ("a b @L_x c", 2, [2, 0], "symbol 4, c, shifts one word more than the 2"),
        ("a @R_x b @R_y", 2, [0, 1], "symbol 2, @R_x, needs two items on the stack, there are 1"),
        ("a b @R_x", 3, [0, 1, 1], "it shifts 2 words, the sentence has 3"),
        ("a b c @L_x", 3, [0, 3, 1], "it leaves 2 items on the stack"),
        ("", 2, [0, 1], "it shifts 0 words"),
    ],
)
def test_a_malformed_sequence_is_named_and_can_be_repaired(actions, words, heads, fault):
    tree, faults = transitions.to_tree(actions.split(), words)
    assert tree.heads == heads
    assert fault in faults[0]


@given(st.lists(st.sampled_from(["w", "<unk>", "@L_a", "@R_b"]), max_size=12), st.integers(1, 6))
def test_a_repair_is_always_a_tree(actions, words):
    tree, faults = transitions.to_tree(actions, words)
    assert dependency_trees.is_tree(tree.heads)
    assert tree.relations.count("root") == 1 and tree.relations[tree.heads.index(0)] == "root"
    sizes = list(accumulate(-1 if symbols.is_reduce(symbol) else 1 for symbol in actions))
    whole = len(actions) == 2 * words - 1 and min(sizes) > 0 and sizes[-1] == 1
    assert bool(faults) == (not whole)


# ---- symbols


@given(st.text(min_size=1, max_size=6) | st.sampled_from(["@L_x", "@R_", "<s>", "</s>", "<pad>", "<unk>", r"\x20;"]))
def test_a_symbol_has_no_white_space_is_not_reserved_and_stands_for_one_word(form):
    symbol = symbols.word_symbol(form)
    assert symbol.split() == [symbol]
    assert not symbols.is_reduce(symbol)
    assert symbol not in ("<s>", "</s>", "<pad>", "<unk>")
    assert symbols.unescape(symbol) == form


@pytest.mark.parametrize(
    "form, symbol",
    [
        ("10 000", r"10\x20;000"),
        ("@L_x", r"\x40;L_x"),
        ("</s>", r"\x3c;/s>"),
        ("madeupword0000", r"\x6d;adeupword0000"),
        ("a\\b", r"a\x5c;b"),
        ("@L", "@L"),
    ],
)
def test_what_is_escaped(form, symbol):
    assert symbols.word_symbol(form) == symbol


def test_words_are_changed_before_they_are_escaped():
    assert symbols.word_symbol("B 2b", lowercase=True, digits=True) == r"b\x20;#b"
    assert symbols.word_symbol("<PAD>", lowercase=True) == r"\x3c;pad>"


# ---- CoNLL-U


@pytest.mark.parametrize("suffix, pack", [(".conllu", bytes), (".gz", gzip.compress), (".xz", lzma.compress)])
def test_reads_plain_and_packed_files_and_writes_them_back(tmp_path, suffix, pack):
    path = tmp_path / ("sample" + suffix)
    path.write_bytes(pack(SAMPLE.encode("utf-8")))
    bank = treebank.read_treebank(path)
    assert [sentence.forms for sentence in bank.sentences] == [["Vamos", "nos", "10 000", "a", "mar", "!"], [], ["Sí"]]
    assert bank.sentences[0].tree().heads == [0, 1, 5, 5, 1, 1]
    treebank.write_text(path, bank.text())
    assert treebank.read_treebank(path).text() == SAMPLE


def without_empty_nodes(text):
    """Empty nodes have nothing but the enhanced dependencies of DEPS, which new trees empty."""
    return "\n".join(line for line in text.split("\n") if "." not in line.split("\t")[0] or "#" in line)


@pytest.mark.parametrize("start", ["\ufeff", ""])
def test_a_mark_of_an_editor_before_the_first_line_is_no_column(tmp_path, start):
    bank = treebank.read_treebank(write(tmp_path / "marked.conllu", start + ROW.format(1, 0)))
    assert bank.sentences[0].forms == ["x"] and bank.text() == ROW.format(1, 0)


def test_only_head_relation_and_deps_of_words_change(sample):
    bank = treebank.read_treebank(sample)
    text = bank.text([Tree([2, 0, 2, 2, 2, 2], ["a", "root", "b", "c", "d", "e"]), Tree([0], ["root"])])
    kept = without_empty_nodes(SAMPLE).split("\n")
    pairs = [(old, new) for old, new in zip(kept, text.split("\n")) if old != new]
    assert len(text.split("\n")) == len(kept) == len(SAMPLE.split("\n")) - 3
    assert [new.split("\t")[0] for _, new in pairs] == list("123456")
    for old, new in pairs:
        assert old.split("\t")[:6] + old.split("\t")[9:] == new.split("\t")[:6] + new.split("\t")[9:]
    assert pairs[2][1].split("\t")[6:9] == ["2", "b", "_"]


ROW = "{}\tx\t_\t_\t_\t_\t{}\tdep\t_\t_\n"


@pytest.mark.parametrize(
    "text, message",
    [
        ("# c\n1\tx\t_\n", "line 2: 3 columns between tabs, CoNLL-U has 10"),
        (ROW.format(1, 0).replace("\n", "\r\n"), "line 1: ends with carriage return"),
        (ROW.format(1, 0).replace("x", ""), "line 1: the column FORM is empty"),
        (ROW.format(2, 0), "line 1: the ID 2 is out of order; here may stand the word 1"),
        (ROW.format(1, 0) + ROW.format(1, 0), "line 2: the ID 1 is out of order; here may stand the word 2"),
        (ROW.format("1.2", 0), "line 1: the ID 1.2 is out of order"),
        (ROW.format("2-1", 0), "line 1: the ID 2-1 is out of order"),
        (ROW.format("1-2", 0) + ROW.format(1, 0) + ROW.format("2-3", 1), "line 3: the ID 2-3 is out of order"),
        (ROW.format("1-2", 0) + ROW.format(1, 0), r"line 1 \(sentence 1\): a multiword token ends with word 2"),
        (ROW.format("x", 0), "line 1: the ID x is out of order"),
        (ROW.format("1" * 5000, 0), r"line 1: the ID 1{80}\.\.\. is out of order"),
        (ROW.format(f"1-{'2' * 5000}", 0), r"line 1: the ID 1-2{78}\.\.\. is out of order"),
        ("\xff", "not UTF-8"),
        (None, "cannot be read"),
    ],
)
def test_malformed_files_are_named(tmp_path, text, message):
    path = tmp_path / "bad.conllu"
    if text is not None:
        path.write_bytes(text.encode("latin-1"))
    with pytest.raises(SystemExit, match=message):
        treebank.read_treebank(path)


def test_a_damaged_archive_is_named(tmp_path):
    packed = gzip.compress(ROW.format(1, 0).encode())
    (tmp_path / "bad.gz").write_bytes(packed[:10] + b"\xff" + packed[11:])  # no such type of block
    with pytest.raises(SystemExit, match="bad.gz: cannot be read"):
        treebank.read_treebank(tmp_path / "bad.gz")


@pytest.mark.parametrize(
    "heads, message",
    [
        ("03", "line 4: HEAD is 3, but the sentence has words 1 to 2"),
        (["0", "9" * 5000], r"line 4: HEAD is 9{80}\.\.\., but the sentence has words 1 to 2"),
        ("0_", "line 4: HEAD is _, but"),
        (["0", "\x1c/\x8511"], r"line 4: HEAD is \\x1c/\\x8511, but"),
        ("00", r"line 3 \(sentence 2\): 2 words have HEAD 0"),
        ("21", r"line 3 \(sentence 2\): 0 words have HEAD 0"),
        ("0243", r"line 3 \(sentence 2\): no tree, the heads of the words 2 form a circle"),
        ("0342", r"line 3 \(sentence 2\): no tree, the heads of the words 2, 3, 4 form a circle"),
    ],
)
def test_what_is_no_tree_is_named(tmp_path, heads, message):
    rows = "".join(ROW.format(number, head) for number, head in enumerate(heads, start=1))
    bank = treebank.read_treebank(write(tmp_path / "bad.conllu", ROW.format(1, 0) + "\n" + rows))
    with pytest.raises(SystemExit, match=message):
        bank.sentences[1].tree()


@given(st.lists(st.integers(0, 6), min_size=1, max_size=6).map(lambda heads: [min(h, len(heads)) for h in heads]))
def test_a_circle_is_found_exactly_when_there_is_one(heads):
    cycle = treebank.find_cycle(heads)
    above = {word: dependency_trees.ancestors(heads, word) for word in range(1, len(heads) + 1)}
    assert bool(cycle) == any(len(found) > len(heads) for found in above.values())
    for word, head in zip(cycle, cycle[1:] + cycle[:1]):
        assert heads[word - 1] == head


def test_the_shipped_treebank_comes_back_whole():
    """The development set of UD English EWT has 2,001 sentences, of which 31 are not projective."""
    bank = treebank.read_treebank(DEVELOPMENT)
    lost = 0
    for sentence in bank.sentences:
        tree = sentence.tree()
        words = [symbols.word_symbol(form) for form in sentence.forms]
        actions = transitions.to_actions(words, tree)
        lost += actions is None
        assert actions is None or transitions.to_tree(actions, len(words)) == (tree, [])
    assert (len(bank.sentences), lost) == (2001, 31)


def test_long_words_of_a_file_are_cut_in_messages(tmp_path):
    long = "x" * 5000
    _, faults = transitions.to_tree([long, long], 1)
    assert f"symbol 2, {'x' * 80}..., shifts one word more" in faults[0]
    gold, predicted = (
        treebank.read_treebank(write(tmp_path / name, ROW.format(1, 0).replace("\tx\t", f"\t{word}\t")))
        for name, word in (("gold", "x"), ("predicted", long))
    )
    with pytest.raises(SystemExit, match=f"word 1 is {'x' * 80}[.]{{3}}, but x in"):
        evaluate.check_words(gold.sentences[0], predicted.sentences[0], "gold", "predicted")
