"""fairseq's own commands under a constraint."""

import re

import pytest
from endurance.number_words import WORDS
from system_commands import BSO, PLUGIN, ROOT, run, train

CONSTRAINED = ["--task", "bso_translation", "--successors", "word_order"]


@pytest.fixture(scope="module")
def constrained_run(data, softmax_checkpoint, tmp_path_factory):
    """(checkpoint, log) of a BSO-Con run."""
    folder = tmp_path_factory.mktemp("bso_con")
    done = train(
        *(data, folder, *BSO, *CONSTRAINED, "--train-beam", "3", "--eval-bleu", "--eval-bleu-args", '{"beam": 3}'),
        *("--finetune-from-model", softmax_checkpoint, "--max-epoch", "3", "--lr", "0.005"),
    )
    return folder / "checkpoint_last.pt", done.stderr + done.stdout


def sources_and_outputs(printed):
    """{sentence: (source words, hypothesis words)} in the output of generate or interactive."""
    found = {}
    for kind, sentence, line in re.findall(r"^([SH])-(\d+)\t(.*)$", printed, re.M):
        found.setdefault(sentence, {})[kind] = line.split("\t")[-1].split()
    return {sentence: (words["S"], words["H"]) for sentence, words in found.items()}


def test_a_constrained_run_violates_less_and_validates_under_the_constraint(constrained_run, bso_run):
    _, log = constrained_run
    assert "left out" not in log
    bleu = [float(value) for value in re.findall(r"valid on .* bleu ([\d.]+)", log)]
    assert len(bleu) == 3 and max(bleu) > 20
    gaps = [float(value) for value in re.findall(r"violations_per_token ([\d.]+)", log)]
    assert 0 < gaps[-1] < gaps[0]


@pytest.mark.parametrize("beam", [1, 5, 10])
@pytest.mark.parametrize("kind", ["softmax", "summed", "unnormalized"])
def test_every_output_is_a_permutation_of_its_source(data, constrained_run, checkpoints, beam, kind):
    checkpoint = constrained_run[0] if kind == "unnormalized" else checkpoints[kind]
    common = ["--user-dir", PLUGIN, "--cpu", *CONSTRAINED, "--path", checkpoint, "--beam", beam]
    found = sources_and_outputs(run("generate", data, *common).stdout)
    assert len(found) == 30
    for source, output in found.values():
        assert sorted(source) == sorted(output)


def test_interactive_takes_one_word_repeated_unknown_and_no_words(data, constrained_run):
    lines = ["three", "two two one two", "one eleven twelve one", "", " ".join(WORDS * 3)]
    common = ["--user-dir", PLUGIN, "--cpu", *CONSTRAINED, "--path", constrained_run[0], "--beam", 4]
    common += ["--buffer-size", 5, "--max-tokens", 200]
    done = run("interactive", data, *common, text="\n".join(lines) + "\n")
    found = sources_and_outputs(done.stdout)
    assert len(found) == 5
    for number, line in enumerate(lines):
        known = [word if word in WORDS else "<unk>" for word in line.split()]
        assert sorted(found[str(number)][1]) == sorted(known)


def test_pairs_that_the_constraint_does_not_allow_are_counted_and_left_out(tmp_path):
    text = tmp_path / "text"
    text.mkdir()
    (text / "train.src").write_text("one two\nthree four\nfive six\ntwo one\n" * 4)
    (text / "train.tgt").write_text("two one\nthree three\nfive six seven\none two\n" * 4)
    languages = ["--source-lang", "src", "--target-lang", "tgt", "--destdir", tmp_path / "data-bin"]
    run("preprocess", *languages, "--joined-dictionary", "--trainpref", text / "train", "--validpref", text / "train")
    done = train(tmp_path / "data-bin", tmp_path / "run", *BSO, *CONSTRAINED, "--max-epoch", 2)
    warnings = re.findall(r"\d+ of \d+ pairs are left out.*", done.stderr + done.stdout)
    assert (
        warnings
        == [  # once for the training pairs, once for the validation pairs
            "8 of 16 pairs are left out, because --successors word_order does not allow their targets; the first is "
            "sentence 1 with 'three' as word 1 (both counted from 0)"
        ]
        * 2
    )
    assert re.search(r"bsz 8 ", done.stderr + done.stdout)


def failure(done):
    """The last line on stderr of a failed command, after a check that there is no traceback."""
    assert done.returncode == 1, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done.stderr.strip().splitlines()[-1]


@pytest.mark.parametrize(
    "successors, message",
    [
        ("tree", "--successors: unknown constraint 'tree'; choose from: none, arc_standard, shortlist, word_"),
        ("arc_standard", "--successors arc_standard: the target dictionary has no reduce label"),
    ],
)
def test_a_constraint_that_does_not_fit_ends_with_one_line(data, tmp_path, successors, message):
    options = ["--task", "bso_translation", "--successors", successors, "--max-update", 2]
    assert message in failure(train(data, tmp_path / "run", *BSO, *options, check=False))
    assert not list(tmp_path.glob("run/*.pt"))


def test_data_of_another_kind_is_refused(tmp_path):
    text = tmp_path / "text"
    text.mkdir()
    (text / "train.src").write_text("one two\nthree four\n")
    (text / "train.tgt").write_text("eins zwei\ndrei vier\n")
    languages = ["--source-lang", "src", "--target-lang", "tgt", "--destdir", tmp_path / "data-bin"]
    run("preprocess", *languages, "--trainpref", text / "train", "--validpref", text / "train")
    done = train(tmp_path / "data-bin", tmp_path / "run", *BSO, *CONSTRAINED, "--max-update", 2, check=False)
    assert "--successors word_order allows none of the targets of 2 pairs" in failure(done)


@pytest.mark.parametrize("option", [["--print-alignment"], ["--match-source-len"]])
def test_options_that_take_words_for_candidates_are_refused(data, softmax_checkpoint, option):
    common = ["--user-dir", PLUGIN, "--cpu", *CONSTRAINED, "--path", softmax_checkpoint, *option]
    assert "cannot be used with --successors" in failure(run("generate", data, *common, check=False))


def test_a_user_dir_of_ones_own_trains_and_decodes_under_its_constraint(data, softmax_checkpoint, tmp_path):
    own = ROOT / "user_dir_examples" / "custom_successors"
    task = ["--task", "bso_translation", "--successors", "same_length"]
    options = [*BSO, *task, "--train-beam", 3, "--max-epoch", 1, "--finetune-from-model", softmax_checkpoint]
    train(data, tmp_path, *options, "--user-dir", own)
    common = ["--user-dir", own, "--cpu", *task, "--path", tmp_path / "checkpoint_last.pt", "--beam", 5]
    printed = run("generate", data, *common).stdout
    found, scores = sources_and_outputs(printed), dict(re.findall(r"^P-(\d+)\t(.*)$", printed, re.M))
    assert len(found) == len(scores) == 30
    for sentence, (source, _) in found.items():  # fairseq prints the score of <s>, but not the word
        assert len(scores[sentence].split()) == len(source) + 1
