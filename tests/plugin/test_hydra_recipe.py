"""The YAML for fairseq-hydra-train in docs/training.md: its groups, names and options exist."""

import re
from dataclasses import fields
from pathlib import Path

import yaml
from fairseq.dataclass.configs import FairseqConfig
from fairseq.registry import REGISTRIES

from fairseq_bso.overview.registered import registry

PAGE = Path(__file__).resolve().parents[2] / "docs" / "training.md"


def test_every_name_of_the_recipe_exists():
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    recipe = yaml.safe_load(text)
    registries = {"task": registry("--task"), "model": registry("--arch"), "criterion": registry("--criterion")}
    registries.update({name: REGISTRIES[name]["registry"] for name in ("optimizer", "lr_scheduler")})
    groups = {field.name: field for field in fields(FairseqConfig)}
    assert {"task", "model", "criterion"} <= set(recipe) <= set(groups)
    for group, options in recipe.items():
        name = options.pop("_name", None)
        assert (name is not None) == (group in registries), group
        if name is None:
            config = groups[group].type
        elif group in ("optimizer", "lr_scheduler"):
            config = REGISTRIES[group]["dataclass_registry"][name]
        else:
            config = getattr(registries[group][name], "__dataclass")  # noqa: B009, names are not mangled here
        assert set(options) <= {field.name for field in fields(config)}, group
