"""Whether the package works here, printed by `fairseq-bso doctor`.

surroundings   versions, threads, processor and GPU
self_test      some updates of beam search optimization on a tiny model
command        `fairseq-bso doctor`
"""
