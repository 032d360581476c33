"""The `fairseq-bso` command: its output and its exit status."""

import logging
import subprocess
import sys
from pathlib import Path

import pytest

import fairseq_bso
from fairseq_bso import cli
from fairseq_bso.errors import UserError

PACKAGE = Path(fairseq_bso.__file__).resolve().parent


def test_user_dir_prints_the_folder_of_the_package_and_nothing_else(capsys):
    assert cli.main(["user-dir"]) == 0
    assert capsys.readouterr().out == "{}\n".format(PACKAGE)


def test_user_dir_serves_fairseq_from_any_folder(tmp_path):
    """fairseq accepts the output of the installed command as --user-dir, also in another folder."""
    command = Path(sys.executable).parent / "fairseq-bso"
    assert command.exists(), "fairseq_bso is not installed beside {}: run make test".format(sys.executable)
    printed = subprocess.run([str(command), "user-dir"], capture_output=True, text=True, cwd=tmp_path, check=True)
    load = (
        "import argparse, sys; from fairseq import utils; from fairseq.models import ARCH_MODEL_REGISTRY; "
        "utils.import_user_module(argparse.Namespace(user_dir=sys.argv[1])); print('bso_lstm' in ARCH_MODEL_REGISTRY)"
    )
    loaded = subprocess.run(
        [sys.executable, "-c", load, printed.stdout.rstrip("\n")], capture_output=True, text=True, cwd=tmp_path
    )
    assert loaded.stdout == "True\n", loaded.stderr


def test_version(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["--version"])
    assert stopped.value.code == 0
    assert capsys.readouterr().out == "fairseq-bso {}\n".format(fairseq_bso.__version__)


def test_no_subcommand_prints_the_help_and_fails(capsys):
    assert cli.main([]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert "user-dir" in printed.err


def test_an_unknown_subcommand_is_named_with_the_known_ones(capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(["user_dir"])
    assert stopped.value.code == 2
    message = capsys.readouterr().err
    assert "'user_dir'" in message and "user-dir" in message


NAMES = [
    "ablate",
    "distill",
    "doctor",
    "export",
    "options",
    "prune",
    "shortlist",
    "states",
    "translate",
    "user-dir",
    "view",
]


@pytest.mark.parametrize("name", NAMES)
def test_each_subcommand_has_help(name, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main([name, "--help"])
    assert stopped.value.code == 0
    assert f"usage: fairseq-bso {name}" in capsys.readouterr().out


@pytest.mark.parametrize("name, words", [("shortlist", ["data"]), ("view", ["states"]), ("doctor", [])])
def test_an_unknown_option_is_an_error_with_the_usage_of_the_subcommand(name, words, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main([name, *words, "--unknown-option"])
    assert stopped.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith(f"usage: fairseq-bso {name} ")
    assert message.endswith(f"fairseq-bso {name}: error: unrecognized arguments: --unknown-option\n")


def test_the_help_lists_every_subcommand_once(capsys):
    cli.main([])
    lines = [
        line.split()[0] for line in capsys.readouterr().err.splitlines() if line.startswith("    ") and line[4] != " "
    ]
    assert sorted(lines) == NAMES


@pytest.mark.parametrize("name", [name for name, one in cli.SUBCOMMANDS.items() if one.needs_fairseq])
def test_no_subcommand_shows_the_debug_messages_of_libraries(name, monkeypatch):
    """Importing fairseq turns them on for all loggers; h5py, which `states` imports, has some."""
    module, root, seen = cli.command_of(name), logging.root, []
    before = root.level, root.handlers[:]
    monkeypatch.setattr(module, "add_arguments", lambda parser: None)
    monkeypatch.setattr(module, "run", lambda arguments: seen.append(logging.getLogger("h5py").getEffectiveLevel()))
    root.setLevel(logging.DEBUG)
    try:
        cli.main([name])
    finally:
        root.handlers[:] = before[1]
        root.setLevel(before[0])
    assert seen == [logging.WARNING]


@pytest.mark.parametrize(
    "command", ["ablate x y", "distill x", "options", "prune x y --amount 0.5", "states x --out y"]
)
def test_a_user_dir_that_cannot_be_imported_is_one_message(command, tmp_path, capsys):
    words = [*command.split(), "--user-dir"]
    with pytest.raises(UserError, match="^--user-dir .*none does not exist: give a folder with plugins$"):
        cli.main([*words, str(tmp_path / "none")])
    plugin = tmp_path / f"broken_{command.split()[0]}"
    plugin.mkdir()
    (plugin / "__init__.py").write_text("import no_such_package\n")
    with pytest.raises(UserError, match="^--user-dir .* cannot be imported: No module named 'no_such_package'$"):
        cli.main([*words, str(plugin)])
