"""`fairseq-bso options` lists what `fairseq-train --help` does not: the options of models, criterions and tasks."""

import argparse
import re
from pathlib import Path

import pytest
from fairseq import options as fairseq_options

from fairseq_bso import cli
from fairseq_bso.errors import UserError
from fairseq_bso.models.options import NAMED_SIZES
from fairseq_bso.overview.registered import KINDS, own_registrations, own_sections, registry, sections_of

PAGE = Path(__file__).resolve().parents[2] / "docs" / "options.md"


def printed(capsys, *words):
    assert cli.main(["options", *words]) == 0
    return capsys.readouterr().out


def names_in(text):
    """The options at the starts of lines."""
    return {name for line in text.splitlines() for name in re.findall(r"^  (--[a-z0-9-]+)", line)}


def test_every_option_of_every_registration_is_listed_and_in_the_page(capsys):
    """Compared with the dataclasses: a field with a help text is an option."""
    text, page = printed(capsys), PAGE.read_text(encoding="utf-8")
    for kind, name, config in own_registrations():
        for one in config.__mro__:
            for field in one.__dict__.get("__annotations__", {}) if one.__module__.startswith("fairseq_bso.") else ():
                if config.__dataclass_fields__[field].metadata.get("help"):
                    option = "--" + field.replace("_", "-")
                    assert option in names_in(text), (kind, name, option)
                    assert f"`{option}`" in page, (kind, name, option)


def test_a_name_lists_its_own_options_and_those_that_it_inherits(capsys):
    text = printed(capsys, "--task", "bso_translation", "--criterion", "beam_search_optimization")
    assert "--task bso_translation, from fairseq" in text
    assert {"--successors", "--prune-amount", "--source-lang", "--train-beam"} <= names_in(text)
    assert not {"--encoder-layers", "--distill-weight"} & names_in(text)
    assert re.search(r"--margin NUMBER +[^-]*\(default: 1\.0\)", text)


@pytest.mark.parametrize("name, size", NAMED_SIZES.items())
def test_a_named_size_has_its_own_defaults(name, size):
    (section,) = (one for one in sections_of("--arch", name) if not one.inherited)
    defaults = {option.names[0]: option.default for option in section.options}
    expected = {"--encoder-layers": size.layers, "--decoder-hidden-size": size.units, "--dropout": size.dropout}
    assert {option: defaults[option] for option in expected} == {key: str(one) for key, one in expected.items()}
    assert f"| `{name}` | {size.layers} | {size.units} | {size.dropout} |" in PAGE.read_text(encoding="utf-8")


def test_fairseqs_own_models_and_tasks_are_listed_on_demand(capsys):
    assert "--encoder-attention-heads" in names_in(printed(capsys, "--arch", "transformer"))
    assert "--decoder-out-embed-dim" in names_in(printed(capsys, "--arch", "lstm"))


def test_every_registration_can_be_listed():
    for kind in KINDS:
        ours = [name for one, name, _ in own_registrations() if one == kind]
        assert ours and all(list(sections_of(kind, name)) for name in ours)
    assert {section.kind for section in own_sections()} == set(KINDS)


def test_a_criterion_without_options_says_so(capsys):
    out = printed(capsys, "--criterion", "blockwise_cross_entropy")
    assert out == "--criterion blockwise_cross_entropy\n  no options of its own\n\n"


@pytest.mark.parametrize(
    "kind, known", [("--arch", "bso_lstm_tiny"), ("--task", "bso_translation"), ("--criterion", "word_distillation")]
)
def test_an_unknown_name_is_one_line_with_the_known_ones(kind, known):
    with pytest.raises(UserError, match=f"{kind} nothing is not registered: give .*{known}.* or a name of fairseq's"):
        cli.main(["options", kind, "nothing"])
    assert "nothing" not in registry(kind)


def test_fairseqs_help_lists_none_of_them(capsys):
    """The claim of README and docs/options.md. If this fails, fairseq lists them, and the claim is to be changed."""
    parser = fairseq_options.get_training_parser()
    words = ["data", "--task", "bso_translation", "--arch", "bso_lstm", "--criterion", "beam_search_optimization"]
    with pytest.raises(SystemExit):
        fairseq_options.parse_args_and_arch(parser, [*words, "--help"])
    text = capsys.readouterr().out
    assert "--max-update" in text
    own = {name for section in own_sections() for option in section.options for name in option.names}
    assert not {name for name in own if re.search(rf"{name}(?![a-z-])", text)} - shared_with_fairseq(parser)


def shared_with_fairseq(parser: argparse.ArgumentParser):
    """Names that fairseq's own options have too, such as --label-smoothing of none of them."""
    return {name for action in fairseq_options.get_training_parser()._actions for name in action.option_strings}
