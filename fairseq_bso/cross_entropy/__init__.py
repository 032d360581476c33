"""Cross entropy in blocks of rows, whose scores of all words are never all in memory, and on mixed previous words.

criterion            ``--criterion blockwise_cross_entropy``, ``blockwise_label_smoothed_cross_entropy`` and
                     ``self_normalized_cross_entropy``
scheduled_sampling   ``--criterion scheduled_sampling``
mixing               which previous words are own or unknown, and how that changes in time; pure torch
"""
