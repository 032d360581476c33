"""Models for ``--arch``.

bso_lstm             the LSTM encoder-decoder
options              its config, the checks of a config, and the named sizes
encoder              its encoder
decoder              its decoder: teacher forcing, and single steps for decoding and search
deferred_gradients   gradients of the recurrent weights and the attention, in one product over all time steps
"""
