"""Builds an ONNX graph node by node, with weights in float32 or in int8.

In int8 a weight has whole numbers and a scale for each row, and ONNX Runtime multiplies whole numbers
(`MatMulInteger`). The rows that are multiplied with it are rounded to whole numbers too, in every step anew, each by
its own largest value. So a sentence does not depend on the others of its batch. The LSTM of the encoder, biases and
the products of attention are computed in float32.
"""

from typing import Any, Dict, List, Optional, Sequence, Tuple

import numpy

from bso_runtime.onnx_network import UNSEALED, seal

OPSET, IR_VERSION = 17, 8  # of 2022: every later runtime knows them
LARGEST_FACTOR = 64
"""Largest whole number of a weight in a product. A processor without VNNI adds two products in 16 bits, and
2 * 255 * 64 is the most that fits."""
LARGEST_STORED = 127
"""largest whole number of a weight that is looked up, or scaled to float32 when the file is loaded"""
MIDDLE = 128
"""The whole number that stands for 0 in rows, which have no sign: 1 to 255 are -127 to 127."""


class Graph:
    """Collects nodes and weights. A method returns the name of the output that it adds.

    Args:
        int8: whether weights are kept in int8.
    """

    def __init__(self, int8: bool = False) -> None:
        self.int8 = int8
        self.nodes: List[Any] = []
        self.weights: Dict[str, Any] = {}
        self.rounded: Dict[str, Tuple[str, str]] = {}  # rows: their whole numbers and scales
        self.count = 0

    def weight(self, name: str, values: numpy.ndarray) -> str:
        """A constant; the second of a name is the first."""
        from onnx import numpy_helper

        if name not in self.weights:
            self.weights[name] = numpy_helper.from_array(numpy.array(values, order="C"), name)
        return name

    def number(self, name: str, value: float) -> str:
        """A constant float32."""
        return self.weight(name, numpy.array(value, numpy.float32))

    def integers(self, *values: int) -> str:
        """A constant list of whole numbers."""
        return self.weight("integers_" + "_".join(map(str, values)), numpy.array(values, numpy.int64))

    def many(self, kind: str, inputs: Sequence[str], outputs: int, **attributes: Any) -> List[str]:
        """A node with several outputs."""
        from onnx import helper

        names = [f"{kind.lower()}_{self.count + index}" for index in range(outputs)]
        self.count += outputs
        self.nodes.append(helper.make_node(kind, list(inputs), names, **attributes))
        return names

    def __call__(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """A node with one output."""
        return self.many(kind, inputs, 1, **attributes)[0]

    def linear(self, inputs: str, name: str, weight: numpy.ndarray, bias: Optional[numpy.ndarray] = None) -> str:
        """inputs (..., I), weight (O, I), bias (O,) or None -> (..., O)."""
        if self.int8:
            product = self._integer_product(inputs, name, weight)
        else:
            product = self("MatMul", inputs, self.weight(name, weight.T))
        return product if bias is None else self("Add", product, self.weight(name + ".bias", bias))

    def lookup(self, words: str, name: str, table: numpy.ndarray) -> str:
        """words (...) int64, table (V, E) -> (..., E)."""
        if not self.int8:
            return self("Gather", self.weight(name, table), words)
        whole, scale = whole_numbers(table, LARGEST_STORED)
        rows = self("Cast", self("Gather", self.weight(name, whole), words), to=self.type("float32"))
        return self("Mul", rows, self("Gather", self.weight(name + ".scale", scale), words))

    def columns(self, name: str, words: str) -> Tuple[str, str]:
        """The weights (I, N) and biases (N,) of some outputs of a `linear` with this name; `words` (N,) int64."""
        weight = self("Gather", name, words, axis=1)
        if self.int8:
            scale = self("Gather", name + ".scale", words)
            weight = self("Mul", self("Cast", weight, to=self.type("float32")), scale)
        return weight, self("Gather", name + ".bias", words)

    def stored(self, name: str, values: numpy.ndarray) -> str:
        """A weight that is computed with in float32. ONNX Runtime scales one in int8 once, when it loads the file."""
        if not self.int8:
            return self.weight(name, values)
        whole, scale = whole_numbers(values, LARGEST_STORED)
        in_float32 = self("Cast", self.weight(name, whole), to=self.type("float32"))
        return self("Mul", in_float32, self.weight(name + ".scale", scale))

    def _integer_product(self, inputs: str, name: str, weight: numpy.ndarray) -> str:
        """The product of rows with a weight (O, I), both as whole numbers -> (..., O)."""
        if inputs not in self.rounded:
            self.rounded[inputs] = self._round(inputs)
        rows, scale = self.rounded[inputs]
        whole, row_scale = whole_numbers(weight, LARGEST_FACTOR)
        middle = self.weight("middle", numpy.array(MIDDLE, numpy.uint8))
        product = self("MatMulInteger", rows, self.weight(name, whole.T), middle)
        product = self("Cast", product, to=self.type("float32"))
        return self("Mul", self("Mul", product, self.weight(name + ".scale", row_scale[:, 0])), scale)

    def _round(self, inputs: str) -> Tuple[str, str]:
        """Rows (..., I) -> whole numbers (..., I) in uint8 and scales (..., 1): the largest of a row is 127 scales."""
        largest = self("ReduceMax", self("Abs", inputs), axes=[-1], keepdims=1)
        not_zero = self("Max", largest, self.number("tiny", 1e-30))
        scale = self("Div", not_zero, self.number("steps", MIDDLE - 1))
        # The cast truncates, so half is added to round.
        shifted = self("Add", self("Div", inputs, scale), self.number("middle_and_half", MIDDLE + 0.5))
        return self("Cast", shifted, to=self.type("uint8")), scale

    @staticmethod
    def type(name: str) -> int:
        """ONNX's number of a type."""
        from onnx import TensorProto

        numbers = {"uint8": TensorProto.UINT8, "int32": TensorProto.INT32, "int64": TensorProto.INT64}
        return {**numbers, "float32": TensorProto.FLOAT}[name]

    def finish(
        self, title: str, inputs: Dict[str, Tuple], outputs: Dict[str, Tuple], metadata: Dict[str, str]
    ) -> bytes:
        """The content of the file.

        Args:
            title: of the graph.
            inputs: name -> (dtype, shape).
            outputs: name -> (its name in the graph, shape).
            metadata: all entries but the checksum.
        """
        import onnx
        from onnx import helper

        for name, (inner, _) in outputs.items():
            self.nodes.append(helper.make_node("Identity", [inner], [name]))
        graph = helper.make_graph(
            self.nodes,
            title,
            [helper.make_tensor_value_info(name, self.type(dtype), shape) for name, (dtype, shape) in inputs.items()],
            [helper.make_tensor_value_info(name, self.type("float32"), shape) for name, (_, shape) in outputs.items()],
            list(self.weights.values()),
        )
        opsets = [helper.make_opsetid("", OPSET)]
        model = helper.make_model(graph, producer_name="fairseq_bso", opset_imports=opsets, ir_version=IR_VERSION)
        helper.set_model_props(model, {**metadata, "checksum": UNSEALED})
        onnx.checker.check_model(model, full_check=True)
        return seal(model.SerializeToString())


def whole_numbers(weight: numpy.ndarray, largest: int) -> Tuple[numpy.ndarray, numpy.ndarray]:
    """weight (..., O, I) -> int8 (..., O, I) from -largest to largest, and scales (..., O, 1) in float32."""
    scale = (numpy.abs(weight).max(-1, keepdims=True) / largest).astype(numpy.float32)
    scale[scale == 0] = 1
    return numpy.rint(weight / scale).astype(numpy.int8), scale
