"""scripts/benchmarks/benchmark_peers.py: what a system is, batches of subwords, and the table of an exported model."""

import benchmark_peers
import pytest
import translators
from reference import fakes
from runtime_models import exported

from bso_runtime import model_file

sentencepiece = pytest.importorskip("sentencepiece")
LINES = ["ab ba", "a b c", "c", "abc cab b"]


def test_a_system_has_a_name_a_kind_a_path_and_options():
    assert benchmark_peers.system("my student = runtime m.bso shortlist=1") == (
        "my student",
        "runtime",
        "m.bso",
        {"shortlist": "1"},
    )


@pytest.mark.parametrize("text", ["runtime m.bso", "a = marian m", "a = runtime", " = runtime m", "a = runtime m x"])
def test_what_is_no_system_is_named(text):
    with pytest.raises(ValueError, match="no system|no option"):
        benchmark_peers.system(text)


class Letters:
    """A subword model whose pieces are letters."""

    def encode(self, text, out_type):
        return list(text)

    def decode(self, words):
        return "".join(words)


@pytest.mark.parametrize("size", [1, 2, 3, 9])
def test_lines_come_back_in_their_order_from_batches_of_like_length(size):
    seen = []

    def search(batch):
        seen.append([len(line.split()) for line in batch])
        return {index: line.upper() for index, line in enumerate(batch)}

    lines = ["abc", "a", "", "ab", "abcd"]
    assert translators.in_batches(lines, size, Letters(), search) == ["ABC", "A", "", "AB", "ABCD"]
    assert [length for batch in seen for length in batch] == sorted(map(len, lines))
    assert all(len(batch) <= size for batch in seen)


def test_the_table_of_an_exported_model(tmp_path, capsys):
    (tmp_path / "text").write_text("\n".join(LINES) + "\n")
    (tmp_path / "train").write_text("\n".join(LINES * 20) + "\n")
    sentencepiece.SentencePieceTrainer.train(
        input=str(tmp_path / "train"), model_prefix=str(tmp_path / "spm"), vocab_size=12, hard_vocab_limit=False
    )
    symbols = "\n".join(["<s>", "<pad>", "</s>", "<unk>", "▁a", "a", "▁b", "b", "c", "▁c"]).encode()
    both = {"source": symbols, "target": symbols, "sentencepiece": (tmp_path / "spm.model").read_bytes()}
    model_file.write(tmp_path / "m.bso", exported(fakes.model(), {}, **both), "int8")
    words = [f"one = runtime {tmp_path / 'm.bso'}", "--text", str(tmp_path / "text"), "--out", str(tmp_path / "out")]
    words += ["--reference", str(tmp_path / "text"), "--sentencepiece", str(tmp_path / "spm.model"), "--rounds", "1"]
    benchmark_peers.main(words)
    (row,) = benchmark_peers.json.loads((tmp_path / "out" / "peers.json").read_text())
    assert row["bytes"] == (tmp_path / "m.bso").stat().st_size and row["memory"] > 10 and row["start"] > 0
    assert all(speed > 0 for found in row["beams"].values() for speed in found["words/s"].values())
    table = (tmp_path / "out" / "peers.txt").read_text()
    assert table.strip() in capsys.readouterr().out and "| one |" in table and "sacrebleu" in table
    assert (tmp_path / "out" / "peers.png").read_bytes().startswith(b"\x89PNG")


def test_a_process_that_fails_ends_the_comparison_with_its_name(tmp_path):
    (tmp_path / "spm.model").write_bytes(b"nothing")
    with pytest.raises(SystemExit, match="runtime nowhere.bso: the process ended"):
        benchmark_peers.System("runtime", "nowhere.bso", {}, tmp_path / "spm.model")


def test_the_bytes_of_a_pair_and_of_a_folder(tmp_path):
    for name in ("m.encoder.onnx", "m.step.onnx", "other.bin"):
        (tmp_path / name).write_bytes(b"1234")
    assert [translators.size_of(tmp_path / "m"), translators.size_of(tmp_path)] == [8, 12]
    assert translators.size_of(tmp_path / "other.bin") == 4
