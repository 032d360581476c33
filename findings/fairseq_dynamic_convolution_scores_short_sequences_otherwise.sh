#!/usr/bin/env bash
# fairseq-fixed 0.12.3.1 has two classes of dynamic convolution with one docstring. `DynamicConv_scripatable`, which
# `--arch lightconv` uses, does two things that `DynamicConv1dTBC` does not do, the only one in fairseq 0.12.2:
#
# 1. It scores sequences shorter than its kernel differently in teacher forcing and in incremental decoding. The
#    docstring of weight_softmax says "normalize the weight with softmax before the convolution". With T words and a
#    kernel of K > T, `_forward_unfolded` in fairseq/modules/dynamic_convolution.py cuts the weights to the last T and
#    then normalizes. In incremental decoding it normalizes all K weights and then cuts. So a model is trained on other
#    scores than it decodes with, and the loss of a sentence depends on the padding of its batch. K is up to 31 by
#    default.
# 2. Without conv_bias, which is the default, it still registers a parameter conv_bias that nothing initializes or uses.
#    A checkpoint stores what the memory held. torch's deterministic mode, which fills uninitialized memory with NaN,
#    shows it.
#
# Exits with 0 while this is so, and with 1 once it has changed: once 1 has, `lengthened` in
# fairseq_bso/models/any_model.py can go. 2 needs no workaround.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3.11}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q fairseq-fixed==0.12.3.1 torch==2.13.0 "numpy==2.2.*"
cd "$folder"
"$folder/venv/bin/python" - 2>/dev/null <<'PYTHON'
import sys
from argparse import Namespace

import torch
from fairseq.data import Dictionary
from fairseq.models.lightconv import LightConvModel, base_architecture
from fairseq.modules import DynamicConv1dTBC

torch.use_deterministic_algorithms(True)
torch.manual_seed(1)
words = Dictionary()
for word in "abcdef":
    words.add_symbol(word)
small = {"embed_dim": 8, "layers": 1, "attention_heads": 2, "kernel_size_list": [7], "conv_type": "dynamic", "glu": 1}
options = {f"{side}_{name}": value for side in ("encoder", "decoder") for name, value in small.items()}
options.update(weight_softmax=True, weight_dropout=0.0, input_dropout=0.0)
options = Namespace(**options, max_source_positions=9, max_target_positions=9)
base_architecture(options)
model = LightConvModel.build_model(options, Namespace(source_dictionary=words, target_dictionary=words)).eval()
new, old = model.decoder.layers[0].conv, DynamicConv1dTBC(8, 7, padding_l=6, num_heads=2, weight_softmax=True).eval()
memory = model.encoder(torch.tensor([[4, 5, 6, 2]]), torch.tensor([4]))
target = torch.tensor([[2, 4, 5, 6, 7, 8, 9, 4]])


def scores(time, state=None):
    """Log-probabilities after so many words: after each by teacher forcing, or after the last, given a state."""
    found = model.decoder(target[:, :time], encoder_out=memory, incremental_state=state)
    return model.get_normalized_probs(found, log_probs=True)


seen, state, older, x = [], {}, {}, torch.randn(8, 1, 8)
print("with a kernel of 7 words, log-probabilities of teacher forcing differ by:")
with torch.no_grad():
    for time in range(1, 9):
        one = (scores(time)[:, -1] - scores(time, state)[:, -1]).abs().max().item()
        other = (old(x[:time])[-1] - old(x[time - 1 : time], incremental_state=older)[-1]).abs().max().item()
        moved = (scores(time)[:, -1] - scores(8)[:, time - 1]).abs().max().item()
        print(f"{time} words: {one:.3f} from incremental decoding (older class: {other:.3f}), {moved:.3f} from 8 words")
        seen += [(one > 1e-3) == (moved > 1e-3) == (time < 7), other < 1e-4]
before = scores(8)
before.sum().backward()
finite = {name: bool(value.isfinite().any()) for name, value in new.state_dict().items()}
if new.conv_bias is not None:
    new.conv_bias.data.fill_(1e6)
unused = new.conv_bias is not None and new.conv_bias.grad is None and torch.equal(before, scores(8))
print(f"initialized: {finite}; conv_bias is unused: {unused}; the older class has {list(old.state_dict())}")
seen += [finite == {"conv_bias": False, "weight_linear.weight": True}, unused, "conv_bias" not in old.state_dict()]
print("as described" if all(seen) else "the behaviour has changed")
sys.exit(not all(seen))
PYTHON
