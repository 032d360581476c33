"""scripts/experiments/prepare_word_ordering.py: its pure functions, and a whole run on a few sentences."""

import gzip
import lzma
from collections import Counter

import prepare_word_ordering as prepare
import pytest

TEXT = "The cat saw the dog .\nNo .\n\nA b c d e f g h\nthe DOG saw <unk> \u2028 twice .\n"


@pytest.fixture
def text(tmp_path):
    path = tmp_path / "text.txt"
    path.write_bytes(TEXT.encode("utf-8"))
    return path


def run(text, out, *options):
    files = [f"--{name}={text}" for name in ("train", "valid", "test")]
    prepare.main([*files, "--out", str(out), *options])
    return {path.name: path.read_bytes().decode("utf-8").split("\n")[:-1] for path in out.iterdir()}


@pytest.mark.parametrize("suffix, pack", [(".txt", bytes), (".gz", gzip.compress), (".xz", lzma.compress)])
def test_reads_plain_and_packed_text(tmp_path, suffix, pack):
    path = tmp_path / ("text" + suffix)
    path.write_bytes(pack(b"a b\nc\n"))
    assert prepare.read_sentences(path) == [["a", "b"], ["c"], []]


def test_only_a_line_feed_ends_a_sentence(text):
    sentences = prepare.read_sentences(text, lowercase=True)
    assert sentences[4] == ["the", "dog", "saw", "<unk>", "twice", "."]


def test_every_order_of_three_words_is_about_equally_likely():
    found = Counter(tuple(prepare.shuffle("abc", f"1 train {number}")) for number in range(6000))
    assert len(found) == 6
    assert all(850 < count < 1150 for count in found.values())


def test_shuffled_lines_hold_the_words_of_the_ordered_ones(text, tmp_path):
    files = run(text, tmp_path / "out", "--lowercase", "--min-len", "2", "--max-len", "6")
    assert files["train.ordered"] == ["the cat saw the dog .", "no .", "the dog saw <unk> twice ."]
    for shuffled, ordered in zip(files["train.shuffled"], files["train.ordered"]):
        assert sorted(shuffled.split()) == sorted(ordered.split())


def test_same_seed_same_output_other_seed_other_output(text, tmp_path):
    first, second = run(text, tmp_path / "a"), run(text, tmp_path / "b")
    assert first == second
    assert run(text, tmp_path / "c", "--seed", "2")["train.shuffled"] != first["train.shuffled"]


def test_the_length_filter_does_not_change_the_shuffle_of_what_stays(text, tmp_path):
    whole, long = run(text, tmp_path / "a"), run(text, tmp_path / "b", "--min-len", "5")
    assert set(long["test.shuffled"]) < set(whole["test.shuffled"])


def test_vocabulary_is_counted_on_the_kept_training_words_once(text, tmp_path):
    """The counts are the 3, dog 2, saw 2 and `.` 3 (with "No ."). fairseq adds `<unk>` itself, so the file has none."""
    files = run(text, tmp_path / "out", "--lowercase", "--max-len", "6", "--min-count", "2")
    assert files["dict.txt"] == [". 3", "the 3", "dog 2", "saw 2"]


def test_a_limit_draws_sentences_and_keeps_their_order(text, tmp_path):
    files = run(text, tmp_path / "out", "--max-train", "2", "--max-heldout", "3")
    assert len(files["train.ordered"]) == 2
    assert len(files["valid.ordered"]) == len(files["test.ordered"]) == 3
    lines = [" ".join(line.split()) for line in TEXT.split("\n")]
    places = [lines.index(line) for line in files["train.ordered"]]
    assert places == sorted(places)


@pytest.mark.parametrize(
    "options, message",
    [
        (["--min-len", "9"], "none of its sentences has 9 to 100 words"),
        (["--min-count", "50"], "--min-count 50: no training word is so frequent"),
    ],
)
def test_settings_that_leave_nothing_are_named(text, tmp_path, options, message):
    with pytest.raises(SystemExit, match=message):
        run(text, tmp_path / "out", *options)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "options, message",
    [
        (["--min-len", "5", "--max-len", "4"], "--min-len 5 is above --max-len 4"),
        (["--min-len", "5", "--max-train-len", "4"], "--min-len 5 is above --max-train-len 4"),
        (["--max-train", "0"], "--max-train 0"),
    ],
)
def test_impossible_options_are_refused(text, tmp_path, options, message, capsys):
    with pytest.raises(SystemExit):
        run(text, tmp_path / "out", *options)
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "content, message",
    [(b"a b\nc </s> d\n", "line 2: holds </s>"), (b"a \xff b\n", "not UTF-8 text"), (None, "cannot be read")],
)
def test_bad_input_is_named(tmp_path, content, message):
    path = tmp_path / "bad.txt"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(SystemExit, match=message):
        prepare.read_sentences(path)


@pytest.mark.parametrize("suffix, pack", [(".gz", gzip.compress), (".xz", lzma.compress)])
def test_a_damaged_archive_is_named(tmp_path, suffix, pack):
    path, packed = tmp_path / f"bad{suffix}", pack(b"a b\n" * 1000)
    for damaged in (packed[:-20], packed[:10] + b"\xff" + packed[11:]):  # cut off; gzip: no such type of block
        path.write_bytes(damaged)
        with pytest.raises(SystemExit, match=f"bad{suffix}: cannot be read"):
            prepare.read_sentences(path)


def test_an_existing_folder_is_not_overwritten(text, tmp_path):
    with pytest.raises(SystemExit, match="is there already"):
        run(text, tmp_path)


def test_training_and_validation_may_be_shorter_than_the_test_set(text, tmp_path):
    files = run(text, tmp_path / "out", "--max-train-len", "4")
    whole = run(text, tmp_path / "whole")
    for name in ("train", "valid"):
        assert files[f"{name}.ordered"] == [line for line in whole[f"{name}.ordered"] if len(line.split()) <= 4]
    assert files["test.ordered"] == whole["test.ordered"] != files["valid.ordered"]


def test_copies_shuffle_each_training_sentence_anew_and_count_its_words_once(tmp_path):
    text = tmp_path / "text"
    text.write_text("a b c d e f g h\nb c d e f g h i\n")
    for copies in (1, 3):
        options = ["--train", text, "--valid", text, "--test", text, "--out", tmp_path / str(copies)]
        prepare.main([*map(str, options), "--min-count", "2", "--train-copies", str(copies)])
    read = {
        (copies, name): (tmp_path / str(copies) / name).read_text().splitlines()
        for copies in (1, 3)
        for name in ("train.shuffled", "train.ordered", "valid.shuffled", "dict.txt")
    }
    assert read[3, "train.ordered"] == read[1, "train.ordered"] * 3
    assert read[3, "train.shuffled"][:2] == read[1, "train.shuffled"]
    assert len(set(read[3, "train.shuffled"])) == 6
    assert [sorted(line.split()) for line in read[3, "train.shuffled"]] == [
        sorted(line.split()) for line in read[3, "train.ordered"]
    ]
    assert read[3, "valid.shuffled"] == read[1, "valid.shuffled"]
    assert read[3, "dict.txt"] == read[1, "dict.txt"]
