"""Matrix products of few rows, which is what a beam search needs.

A BLAS first copies a large matrix into the order that it reads, which takes longer than the product itself where only a
few rows go through it. Some multiply small matrices as they are. So the weights are kept as narrow blocks: about twice
as fast at 2 to 10 rows with OpenBLAS and AVX-512, as fast as whole elsewhere.
"""

from typing import NamedTuple, Optional

import numpy as np

Array = np.ndarray
BLOCK = 64  # columns
FEW = 20  # rows; above, the product itself takes most of the time, and one large product may use several threads


class Product:
    """`rows @ weight.T`, of one matrix or of D matrices at once.

    Args:
        weight: (O, I), or (D, O, I).
    """

    def __init__(self, weight: Array) -> None:
        self.weight = weight
        self.blocks: Optional[Blocks] = None  # where it is needed, as the next
        self.whole: Optional[Array] = None  # (..., I, O)

    def __call__(self, rows: Array) -> Array:
        """(R, I) -> (R, O), or (D, R, I) -> (D, R, O)."""
        if rows.shape[-2] == 1:
            return rows @ self.weight.swapaxes(-1, -2)  # of one row, a BLAS copies nothing
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
        """Of a weight (..., O, I)."""
        *several, outputs, inputs = weight.shape
        even = outputs - outputs % BLOCK
        blocks = weight[..., :even, :].reshape(*several, -1, BLOCK, inputs)
        both = (one.swapaxes(-1, -2) for one in (blocks, weight[..., even:, :]))
        return Blocks(*map(np.ascontiguousarray, both))

    def product(self, rows: Array) -> Array:
        """(..., R, I) -> (..., R, O)."""
        shape, even = rows.shape[:-1], self.even.shape[-3] * BLOCK
        product = np.empty((*shape, even + self.rest.shape[-1]), np.float32)
        places = product[..., :even].reshape(*shape, -1, BLOCK).swapaxes(-2, -3)  # (..., O / BLOCK, R, BLOCK)
        np.matmul(rows[..., None, :, :], self.even, out=places)
        if self.rest.shape[-1]:
            np.matmul(rows, self.rest, out=product[..., even:])
        return product
