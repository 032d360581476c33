"""Sizes of fairseq's own `transformer` and `lstm`, as options of fairseq-train."""


def stock(arch, layers, width, more):
    """Options of a model with the same size on both sides and one embedding for all words.

    Args:
        arch: value of `--arch`.
        layers: number of layers of each side.
        width: of the embeddings.
        more: further options of each side, without its name: `attention-heads 4`.
    """
    options = [f"layers {layers}", f"embed-dim {width}", *more]
    sides = " ".join(f"--{side}-{option}" for side in ("encoder", "decoder") for option in options)
    return f"--arch {arch} --share-all-embeddings {sides}"


def transformer(width, inner, layers=2, heads=4):
    """Options of a Transformer with pre-norm; `inner` is the width inside its feed-forward blocks."""
    more = [f"ffn-embed-dim {inner}", f"attention-heads {heads}", "normalize-before"]
    return stock("transformer", layers, width, more)


def lstm(width, layers=1):
    """Options of an LSTM; its encoder reads in one direction unless `--encoder-bidirectional` follows."""
    return stock("lstm", layers, width, [f"hidden-size {width}"]) + f" --decoder-out-embed-dim {width}"
