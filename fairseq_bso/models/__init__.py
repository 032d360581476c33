"""Models for ``--arch``.

bso_lstm             the LSTM encoder-decoder
options              its config, the checks of a config, and the named sizes
word_vectors         files of pretrained word vectors
unit_layout          its units, with the rows and columns that pruning a unit zeroes
encoder              its encoder
decoder              its decoder: teacher forcing, and single steps for decoding and search
any_model            what the search needs of any encoder-decoder of fairseq: checks, output layer, features
temporary            changes of a model that last as long as a block
any_decoder          any incremental decoder in the training search
packed_transformer   fairseq's Transformers in the training search
packing              gold and all segments of a sentence in one sequence
transformer_steps    one step of many hypotheses of a Transformer
shared_dropout       dropout masks that gold and all hypotheses of a sentence share
training_search      the training search of any model, in one call of the model
deferred_gradients   gradients of the recurrent weights and the attention, in one product over all time steps
"""
