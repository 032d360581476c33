"""scripts/tools/score.py: reading fairseq-generate's output, restoring the order, filling unknown words, scoring."""

import json

import pytest
import score

# fairseq-generate writes sentences in the order of length, H before D. Sentence 1 has an n-best list of two.
LOG = """2024-01-01 00:00:00 | INFO | fairseq_cli.generate | loading model(s) from checkpoint.pt
S-1\td c b a
T-1\ta b c d
H-1\t-0.25\ta b c d
D-1\t-0.25\ta b c d
P-1\t-0.1 -0.1
H-1\t-0.50\td c b a
D-1\t-0.50\td c b a
S-0\tg f <unk> x
T-0\t<<unk>> f g x
H-0\t-1.5\t<unk> f g x
D-0\t-1.5\t<unk> f g x
2024-01-01 00:00:09 | INFO | fairseq_cli.generate | Translated 2 sentences (1,010 tokens) in 3.5s (4.00 sentences/s)
"""


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "generate-test.txt"
    path.write_text(LOG, encoding="utf-8")
    return path


def write(path, *lines):
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def test_best_hypothesis_of_each_sentence_is_kept():
    hypotheses, references = score.read_generated(LOG.split("\n"))
    assert hypotheses == {1: "a b c d", 0: "<unk> f g x"}
    assert references == {1: "a b c d", 0: "<<unk>> f g x"}


def test_an_empty_hypothesis_counts_as_one():
    assert score.read_generated(["T-0\ta", "H-0\t-1.0\t"]) == ({0: ""}, {0: "a"})


def test_seconds_of_the_search():
    assert score.read_seconds(LOG.split("\n")) == 3.5
    assert score.read_seconds(["nothing"]) is None


def test_lines_end_at_a_line_feed_only(tmp_path):
    assert score.read_lines(write(tmp_path / "a", "x\u2028y", "", "z")) == ["x\u2028y", "", "z"]


def test_unknown_words_are_filled_in_the_order_of_the_source():
    text = "a <unk> b <unk> <unk>"
    assert score.fill_unknown(text, "x b y a", {"a", "b"}) == "a x b y <unk>"


def test_pieces_are_joined():
    assert score.join_pieces("\u2581an \u2581or ange \u2581hat .") == "an orange hat."


def test_a_perfect_output_scores_100_with_the_unknown_word_filled(log, tmp_path):
    reference = write(tmp_path / "ref", "rare f g x", "a b c d")
    source = write(tmp_path / "src", "g f rare x", "d c b a")
    dictionary = write(tmp_path / "dict.txt", "f 9", "g 9", "x 9", "a 9", "b 9", "c 9", "d 9")
    result = score.score_file(log, reference, source, dictionary, tokenize="none")
    assert result["bleu"] == 100.0
    assert result["sentences"] == 2
    assert "tok:none" in result["signature"]


def test_without_a_reference_an_unknown_word_never_matches(log):
    assert score.score_file(log, tokenize="none")["bleu"] < 100.0


def test_lowercase_is_in_the_signature(log, tmp_path):
    reference = write(tmp_path / "ref", "<UNK> F g x", "A b c d")
    result = score.score_file(log, reference, tokenize="none", lowercase=True)
    assert result["bleu"] == 100.0
    assert "case:lc" in result["signature"]


def test_a_missing_sentence_is_an_error_that_says_why(log, tmp_path):
    reference = write(tmp_path / "ref", "a", "b", "c")
    with pytest.raises(SystemExit, match="2 sentences, the references are 3 .*is number 2.*required-batch-size"):
        score.score_file(log, reference)


def test_too_many_hypotheses_are_an_error(log, tmp_path):
    with pytest.raises(SystemExit, match="there are more hypotheses"):
        score.score_file(log, write(tmp_path / "ref", "a"))


def test_a_log_without_hypotheses_is_an_error(tmp_path):
    with pytest.raises(SystemExit, match="holds no hypothesis"):
        score.score_file(write(tmp_path / "log", "Traceback"))


def test_a_source_of_other_length_is_an_error(log, tmp_path):
    reference, source = write(tmp_path / "ref", "a", "b"), write(tmp_path / "src", "a")
    with pytest.raises(SystemExit, match="src: 1 sentence, but there are 2 hypotheses"):
        score.score_file(log, reference, source, write(tmp_path / "dict.txt", "a 1"))


def test_command_prints_json(log, capsys):
    score.main([str(log), "--tokenize", "none", "--json"])
    printed = json.loads(capsys.readouterr().out)
    assert printed["seconds"] == 3.5
    assert set(printed) >= {"bleu", "signature", "sentences"}


def test_source_without_dictionary_is_refused(log, capsys):
    with pytest.raises(SystemExit):
        score.main([str(log), "--source", "x"])
    assert "--source and --dictionary go together" in capsys.readouterr().err
