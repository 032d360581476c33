"""The compact model file: the content is read back unchanged, and any other file is refused."""

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bso_runtime import model_file
from bso_runtime.config import ModelConfig
from bso_runtime.model_file import Model

CONFIG = ModelConfig(2, True, False, "dot", residual=True, scorer="summed", max_target_positions=9)
values = st.floats(-4, 4, width=16)
matrices = st.tuples(st.integers(1, 5), st.integers(1, 20)).flatmap(
    lambda shape: st.lists(
        st.one_of(st.just(0.0), values), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]
    ).map(lambda numbers: np.array(numbers, np.float32).reshape(shape))
)


@given(matrix=matrices)
@settings(max_examples=60)
def test_every_form_comes_back(tmp_path_factory, matrix):
    path = tmp_path_factory.mktemp("files") / "model"
    vector = np.array([0.1, -1e-9, 3], np.float32)
    tensors = {"matrix": matrix, "vector": vector, "again": matrix}
    given = Model(replace(CONFIG, successors="ü"), tensors, {"source": "ä\nb".encode(), "empty": b""})
    for dtype in model_file.DTYPES:
        size = model_file.write(path, given, dtype)
        model = model_file.read(path)
        assert size == path.stat().st_size and model.config == given.config
        assert model.vocabularies == given.vocabularies
        assert (model.tensors["vector"] == vector).all()
        assert (model.tensors["again"] == model.tensors["matrix"]).all()
        found = model.tensors["matrix"]
        assert found.shape == matrix.shape and found.dtype == np.float32
        if dtype == "int8":
            assert (np.abs(found - matrix) <= np.abs(matrix).max(1, keepdims=True) / 127 * 0.51).all()
            assert (found[matrix == 0] == 0).all()
        else:  # the drawn numbers are exact in float16
            assert (found == matrix).all()


def test_sparse_and_int8_take_less():
    generator = np.random.default_rng(0)
    matrix = generator.normal(size=(64, 64)).astype(np.float32)
    matrix[generator.random((64, 64)) < 0.9] = 0
    forms = {dtype: model_file._encoded(matrix, dtype) for dtype in model_file.DTYPES}
    assert all(form["kind"] == "sparse" for form, _ in forms.values())
    kept = int((matrix != 0).sum())
    assert len(forms["float32"][1]) == 64 * 64 // 8 + 4 * kept
    assert len(forms["int8"][1]) <= 64 * 4 + 64 * 64 // 8 + kept


@pytest.fixture
def written(tmp_path):
    path = tmp_path / "model"
    model_file.write(path, Model(CONFIG, {"w": np.eye(9, dtype=np.float32)}, {"source": b"a\nb"}), "float16")
    return path


def test_truncated_and_altered_files_are_refused_wherever_it_is(written):
    whole = written.read_bytes()
    for place in range(len(whole)):
        written.write_bytes(whole[:place])
        with pytest.raises(model_file.ModelFileError):
            model_file.read(written)
        written.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        with pytest.raises(model_file.ModelFileError):
            model_file.read(written)
    written.write_bytes(whole + b"more")
    with pytest.raises(model_file.ModelFileError, match="damaged"):
        model_file.read(written)


def test_foreign_files_and_other_versions_are_named(tmp_path, written):
    (tmp_path / "text").write_text("nothing of the kind, but long enough to hold a head of the right length")
    with pytest.raises(model_file.ModelFileError, match="no model file"):
        model_file.read(tmp_path / "text")
    with pytest.raises(model_file.ModelFileError, match="cannot be read"):
        model_file.read(tmp_path / "none")
    content = bytearray(written.read_bytes())
    content[8] = 9
    written.write_bytes(content)
    with pytest.raises(model_file.ModelFileError, match="format 9, but this release reads format 1"):
        model_file.read(written)


@pytest.mark.parametrize(
    "change",
    [
        {"shape": [3, 3]},
        {"size": 5},
        {"size": 2**50},
        {"stored": 2**40},
        {"numbers": "float8"},
        {"shape": [-1, -81]},
        {"shape": [], "numbers": "int8"},
        {"size": float("inf")},
        {"shape": [9, 9 * 2**20]},
        {"shape": [2**32, 2**32]},
        {"shape": [9, 9 * 2**20], "kind": "dense", "size": 2 * 81 * 2**20},
        {"shape": [9, 9 * 2**20], "kind": "sparse", "size": 81 * 2**20 // 8},
        {"kind": "text", "size": 2**26},
    ],
)
def test_a_header_that_lies_is_refused_though_its_checksum_fits(written, change):
    """Before anything of it is unpacked, where it claims what would fill the memory."""
    content = written.read_bytes()
    *_, length = model_file.HEAD.unpack_from(content)
    header = json.loads(content[model_file.HEAD.size : model_file.HEAD.size + length])
    header["parts"][0].update(change)
    blobs = content[model_file.HEAD.size + length :]
    text = json.dumps(header).encode()
    body = len(text).to_bytes(8, "little") + text + blobs
    digest = model_file.hashlib.sha256(body).digest()
    written.write_bytes(model_file.HEAD.pack(model_file.MAGIC, 1, digest, len(text)) + text + blobs)
    with pytest.raises(model_file.ModelFileError, match="does not hold what its header says"):
        model_file.read(written)
