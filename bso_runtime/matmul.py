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
        self.whole: Optional[Array] = None  # (..., I, O); `weight` is then a view of it

    def __call__(self, rows: Array) -> Array:
        """(R, I) -> (R, O), or (D, R, I) -> (D, R, O)."""
        if 1 < rows.shape[-2] <= FEW:
            if self.blocks is None:
                self.blocks = Blocks.of(self.weight)
            return self.blocks.product(rows)
        if self.whole is None:  # for one row a BLAS copies nothing
            whole = np.ascontiguousarray(self.weight.swapaxes(-1, -2))
            self.whole, self.weight = whole, whole.swapaxes(-1, -2)
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


class InputTable:
    """The products of embeddings with input weights, plus biases. The row of a word is computed at its first use.

    Args:
        embedding: (V, E).
        weight: (D, O, E), the input weights of D directions.
        bias: (D, 1, O).
        largest: a table of more bytes is not kept; the products are then computed each time.
    """

    def __init__(self, embedding: Array, weight: Array, bias: Array, largest: int) -> None:
        self.embedding, self.weight, self.bias = embedding, Product(weight), bias
        self.known = np.zeros(len(embedding), bool)
        shape = (len(bias), len(embedding), bias.shape[2])
        fits = 4 * int(np.prod(shape, dtype=np.int64)) <= largest
        self.rows = np.empty(shape, np.float32) if fits else None  # the system gives a page of it at its first use

    def __call__(self, words: Array) -> Array:
        """words (D, ...), those that each direction reads -> (D, ..., O), which may be overwritten."""
        if self.rows is None:
            return self._products(words.reshape(len(words), -1)).reshape(*words.shape, -1)
        new = words[~self.known[words]]
        if new.size:
            new = np.unique(new)  # (N,)
            self.rows[:, new] = self._products(np.broadcast_to(new, (len(self.bias), len(new))))
            self.known[new] = True  # last, for other threads
        if len(words) == 1:
            return self.rows[0][words]
        gates = np.empty((*words.shape, self.rows.shape[2]), np.float32)
        for out, rows, read in zip(gates, self.rows, words):
            np.take(rows, read, 0, out=out, mode="clip")  # another mode first writes elsewhere
        return gates

    def _products(self, words: Array) -> Array:
        """words (D, N) -> (D, N, O)."""
        products = self.weight(self.embedding[words])
        products += self.bias
        return products
