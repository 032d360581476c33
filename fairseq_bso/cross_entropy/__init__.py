"""Cross entropy that never holds the scores of all words of all rows.

criterion   ``--criterion blockwise_cross_entropy``, ``blockwise_label_smoothed_cross_entropy`` and
            ``self_normalized_cross_entropy``
"""
