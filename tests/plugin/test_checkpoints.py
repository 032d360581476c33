"""Files that are no checkpoints."""

import pickle
import zipfile

import pytest
import torch

from fairseq_bso.checkpoints import load_state
from fairseq_bso.errors import UserError


def _text(path):
    path.write_text("no checkpoint\n")


def _other_archive(path):
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("data.pkl", b"\x80\x02}q\0.")


def _pickled(path):
    path.write_bytes(pickle.dumps({"model": complex(1, 2)}))


@pytest.mark.parametrize("write", [_text, _other_archive, _pickled, lambda path: path.write_bytes(b"")])
def test_what_is_no_checkpoint_is_refused_in_one_line_without_advice_to_load_it_unchecked(write, tmp_path):
    write(tmp_path / "checkpoint.pt")
    with pytest.raises(UserError, match="is no checkpoint of fairseq-train: .") as refused:
        load_state(str(tmp_path / "checkpoint.pt"))
    assert "\n" not in str(refused.value) and "weights_only" not in str(refused.value)


@pytest.mark.parametrize("state", [{"args": None}, [1, 2], {"model": 5}])
def test_a_file_of_torch_without_parameters_is_named(state, tmp_path):
    torch.save(state, tmp_path / "checkpoint.pt")
    with pytest.raises(UserError, match="it holds no parameters of a model"):
        load_state(str(tmp_path / "checkpoint.pt"))
