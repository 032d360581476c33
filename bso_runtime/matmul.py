"""Matrix products with few rows, as a beam search needs them.

A BLAS first copies a large matrix into its own order. With few rows the copy takes longer than the product. Some BLAS
multiply small matrices without a copy, so the weights are kept as narrow blocks. That is about twice as fast for 2 to
10 rows with OpenBLAS and AVX-512, and as fast as the whole matrix elsewhere.
"""

from typing import NamedTuple, Optional

import numpy as np

Array = np.ndarray
BLOCK = 64  # columns
FEW = 20  # rows; beyond, the product itself takes most of the time, and one large product may use several threads


class Product:
    """`rows @ weight.T` for one matrix, or for D matrices at once.

    Args:
        weight: (O, I), or (D, O, I).
    """

    def __init__(self, weight: Array) -> None:
        self.weight = weight
        self.blocks: Optional[Blocks] = None  # made on first use, like the next
        self.whole: Optional[Array] = None  # (..., I, O)

    def __call__(self, rows: Array) -> Array:
        """(R, I) -> (R, O), or (D, R, I) -> (D, R, O)."""
        if rows.shape[-2] == 1:
            return rows @ self.weight.swapaxes(-1, -2)  # for one row a BLAS copies nothing
        if rows.shape[-2] <= FEW:
            if self.blocks is None:
                self.blocks = Blocks.of(self.weight)
            return self.blocks.product(rows)
        if self.whole is None:
            self.whole = np.ascontiguousarray(self.weight.swapaxes(-1, -2))
        return rows @ self.whole


class Blocks(NamedTuple):
    """The columns of a transposed weight, in blocks."""

    even: Array
    """(..., O / BLOCK, I, BLOCK)"""
    rest: Array
    """(..., I, O % BLOCK)"""

    @staticmethod
    def of(weight: Array) -> "Blocks":
        """The blocks of a weight (..., O, I)."""
        *several, outputs, inputs = weight.shape
        even = outputs - outputs % BLOCK
        blocks = weight[..., :even, :].reshape(*several, -1, BLOCK, inputs)
        both = (part.swapaxes(-1, -2) for part in (blocks, weight[..., even:, :]))
        return Blocks(*map(np.ascontiguousarray, both))

    def product(self, rows: Array) -> Array:
        """(..., R, I) -> (..., R, O)."""
        shape, even = rows.shape[:-1], self.even.shape[-3] * BLOCK
        product = np.empty((*shape, even + self.rest.shape[-1]), np.float32)
        columns = product[..., :even].reshape(*shape, -1, BLOCK).swapaxes(-2, -3)  # (..., O / BLOCK, R, BLOCK)
        np.matmul(rows[..., None, :, :], self.even, out=columns)
        if self.rest.shape[-1]:
            np.matmul(rows, self.rest, out=product[..., even:])
        return product
