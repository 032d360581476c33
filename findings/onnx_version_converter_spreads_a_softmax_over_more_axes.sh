#!/usr/bin/env bash
# onnx 1.23.2: `version_converter.convert_version` from opset 13 or later to 12 or earlier changes what a Softmax or
# LogSoftmax computes, unless it is over the last axis. Attention weights then also depend on the other sentences.
#
# The documentation says that the function returns the converted model, and that it raises RuntimeError if a conversion
# is not supported. Since opset 13 the operators normalize over one axis. Until 12 they do so over that axis and all that
# follow, as one. `Softmax_13_12` in onnx/version_converter/adapters/softmax_13_12.h keeps the number of the axis. It
# adds no Transpose. The way up from 12 to 13 is right for both. Hardmax, which changed in the same way, is not adapted
# on the way up and changes its meaning there.
#
# Seen: attention scores with the words of the source first, as in fairseq's LSTM, for 3 words of 2 sentences. The weights
# of each sentence sum to 1 in opset 13. Converted to 12 they sum to 0.56 and 0.44. Two heads on the last axis share the
# weights of a word in the same way. With the words last nothing changes. The checker accepts all converted models, and
# onnxruntime runs them.
#
# Exits with 0 while this is so, and with 1 once it has changed. Nothing here needs a workaround: each Softmax of
# fairseq_bso/export/onnx_graphs.py is over the last axis, which tests/plugin/test_runtime_onnx.py holds.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --only-binary :all: onnx==1.23.2 onnxruntime==1.32.0 "numpy==2.*"
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import sys

import numpy
import onnx
import onnxruntime
from onnx import TensorProto, helper, version_converter

generator = numpy.random.default_rng(1)


def model(operator, shape, axis, opset):
    floats = [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("scores", "weights")]
    node = helper.make_node(operator, ["scores"], ["weights"], axis=axis)
    graph = helper.make_graph([node], operator, floats[:1], floats[1:])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def run(graph, scores):
    onnx.checker.check_model(graph, full_check=True)
    session = onnxruntime.InferenceSession(graph.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run(None, {"scores": scores})[0]


CASES = [  # what the axes are; operator, shape, axis of the words; from which opset to which
    ("words, sentences", "Softmax", (3, 2), 0, 13, 12),
    ("words, sentences", "Softmax", (3, 2), 0, 17, 11),
    ("words, sentences", "LogSoftmax", (3, 2), 0, 13, 12),
    ("sentences, words, heads", "Softmax", (2, 3, 2), 1, 13, 12),
    ("sentences, heads, words", "Softmax", (2, 2, 3), 2, 13, 12),
    ("sentences, heads, words", "LogSoftmax", (2, 2, 3), -1, 17, 11),
    ("words, sentences", "Softmax", (3, 2), 0, 12, 13),
    ("words, sentences", "Hardmax", (3, 2), 0, 12, 13),
]
seen = []
for axes, operator, shape, axis, opset, target in CASES:
    scores = generator.normal(size=shape).astype("float32")
    before = model(operator, shape, axis, opset)
    found = [run(graph, scores) for graph in (before, version_converter.convert_version(before, target))]
    sums = [(numpy.exp(one) if operator == "LogSoftmax" else one).sum(axis).ravel()[:2] for one in found]
    texts = [" and ".join(f"{value:.2f}" for value in one) for one in sums]
    print(f"{operator} of ({axes}) over words, opset {opset} to {target}: sums {texts[0]} become {texts[1]}")
    seen.append(bool(numpy.allclose(*found, atol=1e-5)))
known = [False, False, False, False, True, True, True, False]
print("as described" if seen == known else "the behaviour has changed")
sys.exit(seen != known)
PYTHON
