"""user_dir_examples/dependency_parsing: prepare.py, to_conllu.py and parse.py on small files."""

import pytest
from parsing_example import (
    CHAIN,
    CROSSED,
    SAMPLE,
    SHORT,
    conllu,
    fairseq_commands,
    parse,
    prepare,
    symbols,
    to_conllu,
    treebank,
    write,
)
from system_commands import SUBPROCESS_WITH_FORKS


@pytest.fixture
def sample(tmp_path):
    return write(tmp_path / "sample.conllu", SAMPLE)


def run_prepare(tmp_path, train, valid, test, *options):
    """Runs prepare.py on sentences; returns the lines of the files that it wrote."""
    arguments = ["--out", tmp_path / "out"]
    for name, sentences in (("train", train), ("valid", valid), ("test", test)):
        arguments += [f"--{name}", write(tmp_path / f"{name}.conllu", conllu(*sentences))]
    prepare.main([*map(str, arguments), *options])
    files = [path for path in (tmp_path / "out").iterdir() if path.is_file()]
    return {path.name: path.read_bytes().decode("utf-8").split("\n")[:-1] for path in files}


@pytest.fixture
def no_fairseq(monkeypatch):
    monkeypatch.setattr(prepare, "run_fairseq", lambda *arguments: None)


@pytest.fixture
def forked_fairseq(monkeypatch):
    """fairseq's programs run as forks of a process that has imported fairseq, which takes an interpreter seconds."""
    monkeypatch.setattr(fairseq_commands, "subprocess", SUBPROCESS_WITH_FORKS)


def test_text_and_vocabularies(tmp_path, no_fairseq, capsys):
    new = [("The", 2, "new"), ("end", 0, "root")]
    files = run_prepare(
        tmp_path, [CHAIN, CROSSED, SHORT], [SHORT, CROSSED, new], [CROSSED, CHAIN], "--lowercase", "--digits"
    )
    assert files["train.words"] == [r"the cat ##\x20;###", "cat"]
    assert files["train.actions"] == [r"the cat @L_det ##\x20;### @L_nsubj:pass", "cat"]
    assert files["valid.words"] == ["cat"]
    assert files["test.words"] == ["a b c d", r"the cat ##\x20;###"]
    assert files["test.actions"][0] == "a b @R_x c @R_y d @R_z"
    assert files["dict.words.txt"] == ["cat 2", r"##\x20;### 1", "the 1"]
    assert files["dict.actions.txt"] == [*files["dict.words.txt"], "@L_det 1", "@L_nsubj:pass 1"]
    assert files["settings.json"] == ['{"lowercase": true, "digits": true}']
    said = capsys.readouterr().out
    assert "train: left out, not projective" in said and "valid: left out, with a reduce symbol" in said


def test_sentences_with_several_roots_are_left_out_and_counted(tmp_path, no_fairseq, capsys):
    several = [("a", 0, "root"), ("b", 0, "root")]
    files = run_prepare(tmp_path, [several, SHORT, CHAIN], [several, SHORT], [several, SHORT, several])
    assert [len(files[f"{name}.words"]) for name in ("train", "valid", "test")] == [2, 1, 1]
    said = capsys.readouterr().out
    for name, count in (("train", 1), ("valid", 1), ("test", 2)):
        assert f"{name}: left out, without exactly one root (no tree): {count}\n" in said


def test_rare_words_are_in_neither_vocabulary(tmp_path, no_fairseq):
    files = run_prepare(tmp_path, [CHAIN, SHORT, SHORT], [SHORT], [SHORT], "--min-count", "2", "--universal")
    assert files["dict.words.txt"] == ["Cat 2"]
    assert files["dict.actions.txt"] == ["Cat 2", "@L_det 1", "@L_nsubj 1"]


def test_a_length_limit_leaves_the_test_set_whole(tmp_path, no_fairseq):
    files = run_prepare(tmp_path, [CHAIN, SHORT], [CHAIN, SHORT], [CHAIN, [], SHORT], "--max-len", "2")
    assert [len(files[f"{name}.words"]) for name in ("train", "valid", "test")] == [1, 1, 2]


@pytest.mark.parametrize(
    "train, options, message",
    [
        ([CROSSED], [], r"train.conllu: no sentence is left \(1 not projective"),
        ([2 * SHORT], [], r"no sentence is left \(1 without exactly one root"),
        ([CHAIN], ["--max-len", "1"], r"no sentence is left \(1 longer than --max-len 1\)"),
        ([CHAIN], ["--min-count", "9"], "--min-count 9: no training word is so frequent"),
        ([[("a", 2, "x")]], [], "line 1: HEAD is 2"),
    ],
)
def test_what_leaves_nothing_is_named_and_nothing_is_written(tmp_path, no_fairseq, train, options, message):
    with pytest.raises(SystemExit, match=message):
        run_prepare(tmp_path, train, [SHORT], [SHORT], *options)
    assert not (tmp_path / "out").exists()


def test_a_folder_that_exists_is_not_overwritten(tmp_path):
    (tmp_path / "out").mkdir()
    with pytest.raises(SystemExit, match="is there already"):
        run_prepare(tmp_path, [CHAIN], [SHORT], [SHORT])


def test_a_failed_preprocess_shows_its_last_words_and_leaves_no_data(tmp_path, monkeypatch, forked_fairseq):
    real = prepare.run_fairseq
    monkeypatch.setattr(prepare, "run_fairseq", lambda name, options, log: real(name, [*options, "--nonsense"], log))
    with pytest.raises(SystemExit, match="(?s)fairseq-preprocess ended with 2; .*--nonsense"):
        run_prepare(tmp_path, [CHAIN], [SHORT], [SHORT])
    assert not (tmp_path / "out").exists()


def test_fairseq_reads_the_symbols_as_they_were_written(tmp_path):
    """No odd word is unknown, ends a sentence or is split after the real fairseq-preprocess."""
    from fairseq.data import Dictionary, data_utils

    odd = ["</s>", "<unk>", "@R_x", "10 000", "\u2028", "\\", "\x85a", "#", "#fairseq:overwrite", "é", "\u200b"]
    words = [(form, max(number - 1, 0), "root" if number == 1 else "x") for number, form in enumerate(odd, start=1)]
    files = run_prepare(tmp_path, [words], [words], [words])
    folder = tmp_path / "out" / "data-bin"
    for language in ("words", "actions"):
        dictionary = Dictionary.load(str(folder / f"dict.{language}.txt"))
        data = data_utils.load_indexed_dataset(str(folder / f"train.words-actions.{language}"), dictionary)
        assert dictionary.string(data[0]) == files[f"train.{language}"][0]
        assert dictionary.unk() not in data[0].tolist()
        assert [symbols.unescape(word) for word in dictionary.string(data[0]).split()[: len(odd)]] == odd
        assert (
            data[0].tolist()[: len(odd)]
            == data_utils.load_indexed_dataset(str(folder / "train.words-actions.words"), dictionary)[0].tolist()[
                : len(odd)
            ]
        )


# ---- to_conllu.py and parse.py

GENERATED = """S-1\tsí
H-1\t-0.1\t<unk>
D-1\t-0.1\t<unk>
H-0\t-0.5\tvamos <unk> @R_obj x a mar @L_case @L_nummod:gov @R_obl ! @R_punct
H-0\t-0.9\tnot the best
"""


def test_hypotheses_come_back_to_their_sentences(sample, tmp_path):
    """Sentence 2 has no words, and therefore no hypothesis. The prediction for sentence 1 is its gold tree."""
    out = tmp_path / "out.conllu.xz"
    to_conllu.main([str(write(tmp_path / "generate-test.txt", GENERATED)), str(sample), str(out)])
    bank = treebank.read_treebank(out)
    assert [s.tree() for s in bank.sentences] == [s.tree() for s in treebank.read_treebank(sample).sentences]
    kept = "\n".join(line for line in SAMPLE.split("\n") if not line.startswith(("0.1\t", "2.1\t", "2.2\t")))
    assert bank.text() == kept.replace("0:root", "_").replace("1:obj", "_").replace("5:nummod", "_").replace(
        "a\tADP\t_\t_\t5\tcase\t5:case", "a\tADP\t_\t_\t5\tcase\t_"
    ).replace("1:obl", "_").replace("1:punct", "_")


@pytest.mark.parametrize(
    "generated, message",
    [
        (
            GENERATED.replace(" @R_punct", ""),
            r"H-0: no well-formed derivation of .*sample.conllu, line 5 \(sentence 1\): ",
        ),
        (GENERATED.replace("H-1", "D-1"), r"hypotheses for 1 sentence, but .* has 2 \(the first .* sentence 3\)"),
        (GENERATED + "H-2\t0\tx\n", "hypotheses for 3 sentences, but .* has 2"),
        ("S-1\tx\n", "holds no hypothesis"),
    ],
)
def test_hypotheses_that_do_not_fit_are_named(sample, tmp_path, generated, message):
    path = write(tmp_path / "generate-test.txt", generated)
    with pytest.raises(SystemExit, match=message):
        to_conllu.main([str(path), str(sample), str(tmp_path / "out")])
    assert not (tmp_path / "out").exists()


def test_repairs_are_counted(sample, tmp_path, capsys):
    path = write(tmp_path / "generate-test.txt", GENERATED.replace(" @R_punct", ""))
    to_conllu.main([str(path), str(sample), str(tmp_path / "out"), "--repair"])
    assert "repaired 1 of 2 sentences" in capsys.readouterr().out
    assert treebank.read_treebank(tmp_path / "out").sentences[0].tree().relations[-1] == "dep"


def test_parse_prepares_words_as_training_did_and_needs_no_tree(tmp_path, monkeypatch, forked_fairseq):
    """A stub replaces the model; it attaches every word to the first."""
    words = [[("Cat", "_", "_"), ("</s>", "_", "_"), ("9 1", "_", "_")], SHORT]
    source = write(tmp_path / "in.conllu", conllu(*words))
    data, model = tmp_path / "out", write(tmp_path / "model.pt", "")
    run_prepare(tmp_path, [CHAIN], [SHORT], [SHORT], "--lowercase", "--digits")
    seen = {}

    def stand_in(program, arguments, log):
        if program == "preprocess":
            return run_fairseq(program, arguments, log)
        seen["sources"] = (log.parent / "test.words").read_text(encoding="utf-8").split("\n")
        seen["options"] = " ".join(map(str, arguments))
        (log.parent / "out").mkdir()
        write(log.parent / "out" / "generate-test.txt", "H-1\t0\ta\nH-0\t0\ta b @R_x c @R_y:z\n")

    run_fairseq = parse.run_fairseq
    monkeypatch.setattr(parse, "run_fairseq", stand_in)
    out = tmp_path / "out.conllu"
    parse.main(
        ["--model", str(model), "--data", str(data), str(source), str(out), "--beam", "7", "--cpu", "--", "--fp16"]
    )
    assert seen["sources"] == [r"cat \x3c;/s> #\x20;#", "cat", ""]
    assert "--successors arc_standard --cpu --source-lang words --target-lang actions --beam 7" in seen["options"]
    assert seen["options"].endswith("--fp16")
    expected = [[("Cat", 0, "root"), ("</s>", 1, "x"), ("9 1", 1, "y:z")], [("Cat", 0, "root")]]
    assert out.read_text(encoding="utf-8") == conllu(*expected)


@pytest.mark.parametrize(
    "options, message",
    [
        (["--model", "nothing.pt"], "--model nothing.pt: is not a file"),
        (["--data", "nothing"], "--data nothing: .* give the folder that prepare.py wrote"),
    ],
)
def test_what_parse_cannot_find_is_named(sample, tmp_path, options, message):
    common = ["--model", str(sample), "--data", str(tmp_path), str(sample), str(tmp_path / "out")]
    with pytest.raises(SystemExit, match=message):
        parse.main([*common, *options])
