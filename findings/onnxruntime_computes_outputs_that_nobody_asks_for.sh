#!/usr/bin/env bash
# onnxruntime 1.32.0 computes all outputs of a graph, also those that `InferenceSession.run` does not ask for. The
# option `RunOptions.only_execute_path_to_fetches`, whose docstring says "Only execute the nodes needed by fetch
# list", has no effect in the wheel, and gives no warning. Its maintainers say that only builds for training know it
# (microsoft/onnxruntime, issue 16013, open since 2023). A step of a decoder thus pays for the output layer where only
# its state is wanted.
#
# Seen: the profile of a run that asks for one of two outputs names the nodes of both, with and without the option.
#
# Exits with 0 while this is so, and with 1 once it has changed: the input `scored_rows` of a step, which
# fairseq_bso/export/onnx_graphs.py describes, can then go.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q onnxruntime==1.32.0 onnx==1.23.2 "numpy==2.2.*"
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import json
import sys

import numpy
import onnxruntime
from onnx import TensorProto, helper

matrix = {name: helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", "N"]) for name in ("x", "small", "large")}
nodes = [
    helper.make_node("Neg", ["x"], ["small"], name="asked"),
    helper.make_node("MatMul", ["x", "x"], ["large"], name="not_asked"),
]
graph = helper.make_graph(nodes, "two", [matrix["x"]], [matrix["small"], matrix["large"]])
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
seen = {}
for restricted in (False, True):
    options, run = onnxruntime.SessionOptions(), onnxruntime.RunOptions()
    options.enable_profiling, options.profile_file_prefix = True, f"profile-{restricted}"
    run.only_execute_path_to_fetches = restricted
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    outputs = session.run(["small"], {"x": numpy.ones((4, 4), numpy.float32)}, run)
    with open(session.end_profiling()) as file:
        events = json.load(file)
    seen[restricted] = sorted({event["name"].split("_kernel")[0] for event in events
                               if event["name"].endswith("_kernel_time")})
    print(f"only_execute_path_to_fetches={restricted}: {len(outputs)} output, computed {', '.join(seen[restricted])}")
same = seen == {restricted: ["asked", "not_asked"] for restricted in (False, True)}
print("as described" if same else "the behaviour has changed")
sys.exit(not same)
PYTHON
