"""Bakes LoRAs into weights that are loaded."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

from torch import Tensor

from animdiff_cli.core.choices import LoraAlphaMode
from animdiff_cli.weights.contents import refuse_keys
from animdiff_cli.weights.files import WeightFile
from animdiff_cli.weights.lazy import known
from animdiff_cli.weights.lora_merge import Merge, merge_all, open_merge


def open_lora(file: WeightFile, scale: float, alpha_mode: LoraAlphaMode = "alpha") -> Merge:
    """Read a LoRA, its numbers not yet. `alpha_mode` official leaves its alphas out, as the official program does.

    Raises `IntegrityError` if it is no sound LoRA.
    """
    merge = open_merge(file, scale)
    if odd := [module for module, group in merge.groups.items() if not _is_whole(set(group))]:
        refuse_keys(odd, file.path.name, "a LoRA has two factors for every module")
    return replace(merge, alphas={}) if alpha_mode == "official" else merge


def bake(weights: Mapping[str, Tensor], merges: Sequence[Merge]) -> None:
    """Add LoRAs to `weights`, given by canonical name: W + the sum of scale * dW, in float32, rounded once.

    Every module of `merges` must be there. A scale of zero changes no bit.
    """
    active = [merge for merge in merges if merge.scale != 0]
    modules = {module for merge in active for module in merge.groups}
    names = (name for module in modules for name in (f"{module}.weight", module) if name in weights)
    touched = {name: known(weights[name].detach().cpu()) for name in names}
    for name, tensor in merge_all(touched, active).items():
        weights[name].data = tensor.read().to(weights[name].device)


def _is_whole(roles: set[str]) -> bool:
    pairs = ({"down", "up"}, {"hada_w1_a", "hada_w1_b", "hada_w2_a", "hada_w2_b"})
    lokr = all(f"lokr_{w}" in roles or {f"lokr_{w}_a", f"lokr_{w}_b"} <= roles for w in ("w1", "w2"))
    return lokr or any(pair <= roles for pair in pairs)
