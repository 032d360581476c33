"""Matrix products of few rows, which is what a beam search needs.

A BLAS first copies a large matrix into the order that it reads, which takes longer than the product itself where only a
few rows go through it. Some multiply small matrices as they are. So the weights are kept as narrow blocks: about twice
as fast at 2 to 10 rows with OpenBLAS and AVX-512, as fast as whole elsewhere.
"""

from typing import Optional

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
        *several, outputs, inputs = weight.shape
        self.even = outputs - outputs % BLOCK
        blocks = weight[..., : self.even, :].reshape(*several, -1, BLOCK, inputs)
        self.blocks = np.ascontiguousarray(blocks.swapaxes(-1, -2))  # (..., O / BLOCK, I, BLOCK)
        self.rest = np.ascontiguousarray(weight[..., self.even :, :].swapaxes(-1, -2))  # (..., I, O % BLOCK)
        self.whole: Optional[Array] = None  # (..., I, O), where it is needed

    def __call__(self, rows: Array) -> Array:
        """(R, I) -> (R, O), or (D, R, I) -> (D, R, O)."""
        if rows.shape[-2] > FEW:
            if self.whole is None:
                self.whole = np.ascontiguousarray(self.weight.swapaxes(-1, -2))
            return rows @ self.whole
        product = np.empty((*rows.shape[:-1], self.weight.shape[-2]), np.float32)
        even = (
            product[..., : self.even].reshape(*rows.shape[:-1], -1, BLOCK).swapaxes(-2, -3)
        )  # (..., O / BLOCK, R, BLOCK)
        np.matmul(rows[..., None, :, :], self.blocks, out=even)
        if self.rest.shape[-1]:
            np.matmul(rows, self.rest, out=product[..., self.even :])
        return product
