"""What the first update checks of a model of fairseq, and that the checks change nothing."""

from argparse import Namespace

import pytest
import torch
from fairseq.models import ARCH_CONFIG_REGISTRY, ARCH_MODEL_REGISTRY
from fairseq.models.transformer import TransformerModel
from reference import fakes

from fairseq_bso.bso.criterion import BeamSearchOptimizationCriterion
from fairseq_bso.compat import SEARCHABLE
from fairseq_bso.errors import UserError
from fairseq_bso.models import any_model
from fairseq_bso.models.training_search import make_decoder

END, PAD = 2, 1
SMALL = {
    f"{side}_{name}": value
    for side in ("encoder", "decoder")
    for name, value in {"embed_dim": 8, "ffn_embed_dim": 8, "layers": 2, "attention_heads": 2}.items()
}
CONVOLUTIONS = {"encoder_layers": "[(6, 3)]", "decoder_layers": "[(6, 3)]", "decoder_out_embed_dim": 4}
DYNAMIC = {
    f"{side}_{name}": value
    for side in ("encoder", "decoder")
    for name, value in {"kernel_size_list": [3, 7], "conv_type": "dynamic"}.items()
}
DYNAMIC.update(weight_softmax=True, input_dropout=0.0, weight_dropout=0.0)
TASK = fakes.FakeTask(words=6)


def build(arch="transformer", **options):
    """A model with random weights in training mode, without dropout."""
    torch.manual_seed(0)
    given = {**SMALL, "max_source_positions": 64, "max_target_positions": 64, "dropout": 0.0, **options}
    args = Namespace(**given)
    ARCH_CONFIG_REGISTRY[arch](args)
    return ARCH_MODEL_REGISTRY[arch].build_model(args, TASK).train()


def criterion(**options):
    given = {"train_beam": 3, "initial_beam": 2, "updates_per_beam": 0, "delta": "zero_one", "margin": 2.0}
    given.update(nll_weight=0.5, search_dtype="model", search_screen=2, sentence_avg=False)
    return BeamSearchOptimizationCriterion(TASK, **{**given, **options})


def batch(*golds):
    """A batch of target sentences with the same source."""
    width = max(map(len, golds))
    target = torch.tensor([[*gold, *[PAD] * (width - len(gold))] for gold in golds])
    fed = target.masked_fill(target == END, PAD).roll(1, 1)
    fed[:, 0] = END
    sources = torch.tensor([[4, 5, 6, END]] * len(golds))
    net_input = {"src_tokens": sources, "src_lengths": torch.tensor([4] * len(golds)), "prev_output_tokens": fed}
    tokens = sum(map(len, golds))
    return {"id": torch.arange(len(golds)), "net_input": net_input, "target": target, "ntokens": tokens}


SHORT, LONG = [4, 5, END], [5, 6, 7, 8, 9, 4, 5, 6, END]


@pytest.mark.parametrize(
    "arch, options",
    [(arch, options) for arch, options in (("fconv", CONVOLUTIONS), ("lightconv", DYNAMIC)) if arch in SEARCHABLE],
)
@pytest.mark.parametrize("training", [True, False])
def test_convolutions_score_a_short_sentence_as_they_do_next_to_a_long_one(arch, options, training):
    """fairseq's encoder changes the dict that it reorders; its dynamic convolutions change with the length."""
    model, bso = build(arch, **options).train(training), criterion()
    alone = [bso(model, batch(gold))[0] for gold in (SHORT, LONG)]
    together, _, logged = bso(model, batch(SHORT, LONG))
    assert logged["violations"] > 0
    torch.testing.assert_close(together, sum(alone), rtol=1e-4, atol=1e-4)


def test_lightconv_is_trained_or_refused_in_one_line():
    """Its decoder in fairseq 0.12.2 does not give features apart from scores."""
    model, bso = build("lightconv", **DYNAMIC), criterion()
    if "lightconv" in SEARCHABLE:
        assert bso(model, batch(SHORT))[0].requires_grad
        return
    message = (
        "LightConvModel, because it lacks a linear output layer: use --arch bso_lstm, transformer, lstm, fconv, or"
    )
    with pytest.raises(UserError, match=message):
        bso(model, batch(SHORT))


def test_the_first_update_draws_the_random_numbers_of_any_other():
    """fairseq seeds each update: a resumed run equals one that never stopped only if checks draw nothing."""
    model = build(dropout=0.2, encoder_layerdrop=0.3, decoder_layerdrop=0.3)
    bso, losses = criterion(), []
    for _ in range(3):
        torch.manual_seed(7)
        losses.append(bso(model, batch(SHORT, LONG))[0].item())
    assert losses[0] == losses[1] == losses[2]


def test_quantization_noise_packs():
    model = build(quant_noise_pq=0.2, quant_noise_pq_block_size=4)
    net_input = batch(SHORT, LONG)["net_input"]
    layer = any_model.output_layer(model, net_input)
    assert type(make_decoder(model, layer, net_input)).__name__ == "PackedTransformer"


class Louder(TransformerModel):
    """Changes the scores after the decoder."""

    def forward(self, *inputs, **named):
        scores, more = super().forward(*inputs, **named)
        return 1.1 * scores, more


class Uncounted(TransformerModel):
    """Keeps the number of updates to itself."""

    def set_num_updates(self, num_updates):
        self.own_updates = num_updates


def see_everything(model):
    model.decoder.buffered_future_mask = lambda x: x.new_zeros(x.size(0), x.size(0))


def break_a_weight(model):
    model.encoder.layers[0].fc1.weight.data[0, 0] = float("nan")


@pytest.mark.parametrize(
    "change, message",
    [
        (lambda model: setattr(model, "__class__", Louder), "probabilities that are the softmax of a linear output"),
        (see_everything, "incremental decoding with the scores of teacher forcing"),
        (break_a_weight, "its scores are NaN: .* infinity: encoder.layers.0.fc1.weight"),
        (lambda model: setattr(model, "__class__", Uncounted), "does not note the number of updates"),
    ],
)
def test_a_model_that_would_train_on_something_wrong_is_refused(change, message):
    model = build()
    change(model)
    model.set_num_updates(3)
    with pytest.raises(UserError, match=message):
        criterion(mixed_beams=True)(model, batch(SHORT, LONG))


def test_a_target_that_goes_on_after_its_end_is_refused():
    sample = batch(SHORT, [4, 5, END, 6])  # a language symbol at the end, as for mBART
    with pytest.raises(UserError, match=r"the target of sentence 1 \(counted from 0\) does not end in </s>"):
        criterion()(build(), sample)


@pytest.mark.parametrize("sentences", [2, 64])
def test_quantization_noise_is_added_once_in_an_update(sentences):
    """The hook changes the weights for good; on a CPU many sentences would be scored in several passes."""
    model, calls = build(quant_noise_pq=0.2, quant_noise_pq_block_size=4), []
    model.decoder.layers[0].fc1.register_forward_pre_hook(lambda module, _: calls.append(module.training))
    loss, _, logged = criterion()(model, batch(*[SHORT, LONG] * (sentences // 2)))
    assert logged["violations"] > 0 and calls.count(True) == 1


def test_quantization_noise_in_a_decoder_with_several_passes_is_refused():
    model = build(quant_noise_pq=0.2, quant_noise_pq_block_size=4, no_cross_attention=True)
    with pytest.raises(UserError, match="--quant-noise-pq adds noise in each: leave it out"):
        criterion()(model, batch(SHORT, LONG))


def test_a_decoder_without_layers_trains():
    model = build(decoder_layers=0)
    assert criterion()(model, batch(SHORT, LONG))[0].requires_grad


def test_sharded_weights_are_refused():
    """fairscale need not be installed: its wrapper is known by its name."""

    class FullyShardedDataParallel(torch.nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

    with pytest.raises(UserError, match="take --ddp-backend pytorch_ddp or legacy_ddp"):
        criterion()(FullyShardedDataParallel(build()), batch(SHORT, LONG))


def test_checkpointed_decoders_are_refused_in_pytorch_ddp(monkeypatch):
    """torch's wrapper counts the gradients of a layer, and a checkpointed layer has one for each of its passes."""

    class Wrapper(torch.nn.Module):
        def __init__(self, module):
            super().__init__()
            self.module = module

    monkeypatch.setattr("fairseq_bso.models.training_search.DistributedDataParallel", Wrapper)
    model = build(checkpoint_activations=True)
    with pytest.raises(UserError, match="take --ddp-backend legacy_ddp, or leave out --checkpoint-activations"):
        criterion()(Wrapper(model), batch(SHORT, LONG))


def test_a_beam_that_a_generator_set_changes_nothing_and_stays():
    """The generator of --eval-bleu sets a beam in BART's attentions for good: rows would share a source."""
    sample = batch(SHORT, LONG)
    sample["net_input"]["src_tokens"] = torch.tensor([[4, 5, 6, END], [9, 8, 7, END]])
    losses = []
    for beam in (1, 2):
        model = build()
        for layer in model.decoder.layers:
            layer.encoder_attn.set_beam_size(beam)
        losses.append(float(criterion()(model, sample)[0].detach()))
        assert all(layer.encoder_attn.beam_size == beam for layer in model.decoder.layers)
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)
