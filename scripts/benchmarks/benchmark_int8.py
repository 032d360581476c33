"""Products with int8 weights in ONNX Runtime against float32 products in numpy, on one thread.

    python scripts/benchmarks/benchmark_int8.py [--rounds 200]

The product is that of a decoder's first layer with input feeding: rows (R, 2H) times a weight (2H, 4H). ONNX Runtime
quantizes the rows (`DynamicQuantizeLinear`), multiplies (`MatMulInteger`) and scales the result to float32. The
numbers are medians of microseconds of processor time.
"""

import argparse
import os
import statistics
import sys
import time
from pathlib import Path

THREADS = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
if any(os.environ.get(name) != value for name, value in THREADS.items()):  # numpy reads them once
    os.environ.update(THREADS)
    os.execv(sys.executable, [sys.executable, *sys.argv])

import numpy as np  # noqa: E402
import onnxruntime  # noqa: E402
from onnx import TensorProto, helper, numpy_helper  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from bso_runtime.endings import exit_after  # noqa: E402
from bso_runtime.matmul import Product  # noqa: E402


def session(weight):
    """A graph that multiplies float32 rows with a weight (I, O) kept in int8, with one scale."""
    scale = np.float32(np.abs(weight).max() / 127)
    constants = [
        numpy_helper.from_array(np.clip(np.rint(weight / scale), -127, 127).astype(np.int8), "weight"),
        numpy_helper.from_array(scale, "scale"),
    ]
    nodes = [
        helper.make_node("DynamicQuantizeLinear", ["rows"], ["quantized", "row_scale", "zero"]),
        helper.make_node("MatMulInteger", ["quantized", "weight", "zero"], ["product"]),
        helper.make_node("Cast", ["product"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["row_scale", "scale"], ["both"]),
        helper.make_node("Mul", ["float", "both"], ["scores"]),
    ]
    inputs = [helper.make_tensor_value_info("rows", TensorProto.FLOAT, [None, weight.shape[0]])]
    outputs = [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [None, weight.shape[1]])]
    graph = helper.make_graph(nodes, "product", inputs, outputs, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    return onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def microseconds(action, rounds):
    """The median time of one call, of ten in a row."""
    found = []
    for _ in range(rounds):
        start = time.process_time_ns()
        for _ in range(10):
            action()
        found.append((time.process_time_ns() - start) / 10_000)
    return statistics.median(found)


def main():
    """Prints one line for each size."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=200)
    options = parser.parse_args()
    generator = np.random.default_rng(1)
    for hidden in (128, 256, 512):
        weight = generator.normal(size=(4 * hidden, 2 * hidden)).astype(np.float32)
        product, integers = Product(weight), session(weight.T)
        for rows in (1, 5, 32):
            values = generator.normal(size=(rows, 2 * hidden)).astype(np.float32)
            (found,) = integers.run(None, {"rows": values})
            error = np.abs(found - product(values)).max() / np.abs(found).max()
            assert error < 0.05, error
            float32 = microseconds(lambda values=values, product=product: product(values), options.rounds)
            feed = {"rows": values}
            int8 = microseconds(lambda feed=feed, integers=integers: integers.run(None, feed), options.rounds)
            print(
                f"H {hidden}, rows {rows}: float32 {float32:.0f}, int8 {int8:.0f}, {float32 / int8:.2f} times",
                flush=True,
            )


if __name__ == "__main__":
    exit_after(main)
