"""The weight classes of small models, and their updates under a pruner with fairseq's optimizers."""

from argparse import Namespace

from fairseq import optim
from fairseq.optim.fp16_optimizer import FP16Optimizer
from omegaconf import OmegaConf
from reference import fakes
from torch import nn

from fairseq_bso.prune import task
from fairseq_bso.prune.weight_classes import WeightClasses, class_namer, named_parameters


def classes_of(model, exclude=""):
    return WeightClasses(named_parameters(model), class_namer(model), exclude)


def one_update(model, optimizer, callback, update):
    callback.before_step(model, optimizer, update)
    optimizer.zero_grad()
    net_input, target = fakes.batch(model, [[5, 6, 2]], [[7, 8, 2]])
    scores, _ = model(**net_input)
    optimizer.backward(nn.functional.cross_entropy(scores.flatten(0, 1).float(), target.flatten(), reduction="sum"))
    callback.mask_gradients()
    optimizer.clip_grad_norm(1.0)
    optimizer.step()
    callback.after_step(optimizer, update + 1)


def settings(name, **common):
    """The parts of a config that fairseq's optimizers read."""
    own = {"adam": {"adam_betas": "(0.9, 0.99)"}, "nag": {"momentum": 0.9}, "sgd": {"momentum": 0.9}}
    own["adamax"] = {"adamax_betas": "(0.9, 0.99)", "adamax_eps": 1e-8, "no_bias_correction": False}
    own["adadelta"] = {"adadelta_rho": 0.9, "adadelta_eps": 1e-6, "anneal_eps": False}
    own["adafactor"] = {"adafactor_eps": "(1e-30, 1e-3)", "clip_threshold": 1.0, "decay_rate": -0.8, "beta1": 0.9}
    own["adafactor"].update(scale_parameter=True, relative_step=False, warmup_init=False)
    options = {"_name": name, "weight_decay": 0.01, "lr": [0.05], **own.get(name, {})}
    flags = {"bf16": False, "fp16": False, "fp16_no_flatten_grads": True, "fp16_scale_window": 4}
    flags.update({"fp16_init_scale": 4, "fp16_scale_tolerance": 0.0, "threshold_loss_scale": None})
    flags.update({"min_loss_scale": 1e-4, "tpu": False, **common})
    return OmegaConf.create({"optimizer": options, "common": flags, "optimization": {"update_freq": [1]}})


def build(name, model, **common):
    parameters = [one for one in model.parameters() if one.requires_grad]
    cfg = settings(name, **common)
    if common:
        return FP16Optimizer.build_optimizer(cfg, parameters)
    return optim.build_optimizer(cfg.optimizer, parameters)


def options(**given):
    usual = {name: one.default for name, one in task.PruningConfig.__dataclass_fields__.items()}
    return Namespace(**{**usual, **given})
