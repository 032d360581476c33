#!/usr/bin/env bash
# onnx 1.23.2: `onnx.reference.ReferenceEvaluator` ignores `sequence_lens` of an LSTM node. It runs over the padding
# of a batch, so the states of a short sentence depend on its padding. There is no warning.
#
# The specification of the operator says that `sequence_lens` holds the lengths of the sequences of a batch. `_run` of
# onnx/reference/ops/op_lstm.py takes it and never uses it, nor does it use `activations`, `clip` and `input_forget`.
# GRU and RNN ignore the lengths too. A right export of a recurrent encoder then seems wrong. One that ignores the
# lengths seems right, because whoever compares with the reference gets the same numbers.
#
# Seen: two sentences of 4 and 2 words in a batch. onnxruntime gives the short one its last state of when it is alone,
# and zeros after its end. The evaluator gives it other states, which also change with the values of the padding. The
# long sentence is right in both. In a bidirectional LSTM its first words are wrong too.
#
# Exits with 0 while this is so, and with 1 once it has changed. user_dir_examples/pruning/README.md can then leave
# out its sentence on this. tests/plugin/test_runtime_onnx.py compares exported encoders with those in numpy, in
# padded batches.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --only-binary :all: onnx==1.23.2 onnxruntime==1.32.0 "numpy==2.2.*"
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import numpy
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

UNITS, INPUTS = 2, 3
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
generator = numpy.random.default_rng(1)


def graph(operator, direction):
    """A model of one recurrent layer, whose inputs are x (T, B, INPUTS) and lengths (B,)."""
    ways, rows = 2 if direction == "bidirectional" else 1, GATES[operator] * UNITS
    shapes = {"W": (ways, rows, INPUTS), "R": (ways, rows, UNITS), "b": (ways, 2 * rows)}
    drawn = {name: generator.normal(size=shape).astype(numpy.float32) for name, shape in shapes.items()}
    weights = [numpy_helper.from_array(values, name) for name, values in drawn.items()]
    inputs = ["x", *shapes, "lengths"]
    node = helper.make_node(operator, inputs, ["states", "last"], hidden_size=UNITS, direction=direction)
    ends = [
        helper.make_tensor_value_info("x", TensorProto.FLOAT, ["T", "B", INPUTS]),
        helper.make_tensor_value_info("lengths", TensorProto.INT32, ["B"]),
    ]
    results = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("states", "last")]
    made = helper.make_graph([node], operator, ends, results, weights)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def runtime(model, words, lengths):
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"x": words, "lengths": numpy.array(lengths, numpy.int32)})


def reference(model, words, lengths):
    return ReferenceEvaluator(model).run(None, {"x": words, "lengths": numpy.array(lengths, numpy.int32)})


def near(one, other):
    return bool(numpy.allclose(one, other, atol=1e-5))


words = generator.normal(size=(4, 2, INPUTS)).astype(numpy.float32)  # (T, B, inputs); sentence 1 has 2 words
padded = words.copy()
padded[2:, 1] = 7
seen = {}
for operator in GATES:
    for direction in ("forward", "bidirectional"):
        model = graph(operator, direction)
        for name, run in (("onnxruntime", runtime), ("reference", reference)):
            states, last = run(model, words, [4, 2])
            own_states, own_last = run(model, words[:2, 1:], [2])
            seen[operator, direction, name] = (
                near(last[:, 1:], own_last),
                near(states[:2, :, 1:], own_states),
                not states[2:, :, 1].any(),
                near(run(model, padded, [4, 2])[1], last),
                near(last[:, :1], run(model, words[:, :1], [4])[1]),
            )
CHECKS = (
    "the last state of the short sentence alone",
    "the states of its words alone",
    "zeros after its end",
    "the same with other padding",
    "the last state of the long sentence alone",
)
for (operator, direction, name), found in seen.items():
    missed = ", ".join(text for text, right in zip(CHECKS, found) if not right)
    print(f"{operator}, {direction}, {name}: misses {missed or 'nothing'}")
known = {key: (True,) * 5 for key in seen if key[2] == "onnxruntime"}
known.update({key: (False, key[1] == "forward", False, False, True) for key in seen if key[2] == "reference"})
print("as described" if seen == known else "the behaviour has changed")
sys.exit(seen != known)
PYTHON
