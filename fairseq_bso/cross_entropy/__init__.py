"""Cross entropy in blocks of rows: the scores of all words are never all in memory.

criterion   ``--criterion blockwise_cross_entropy``, ``blockwise_label_smoothed_cross_entropy`` and
            ``self_normalized_cross_entropy``
"""
