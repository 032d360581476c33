"""What the package offers, printed by `fairseq-bso options` and written to docs/options.md.

registered   the options of models, criterions and tasks, from the parsers that fairseq makes of them
command      `fairseq-bso options`
"""
