"""Check that a motion module has every weight of every temporal transformer, with its shape."""

import re
from collections.abc import Iterable, Mapping

from animdiff_cli.errors import IntegrityError
from animdiff_cli.weights.lazy import LazyTensor

#: diffusers name within a temporal transformer → shape in multiples of its width
OUTER = {
    "norm.weight": (1,),
    "norm.bias": (1,),
    "proj_in.weight": (1, 1),
    "proj_in.bias": (1,),
    "proj_out.weight": (1, 1),
    "proj_out.bias": (1,),
    "transformer_blocks.0.norm3.weight": (1,),
    "transformer_blocks.0.norm3.bias": (1,),
    "transformer_blocks.0.ff.net.0.proj.weight": (8, 1),
    "transformer_blocks.0.ff.net.0.proj.bias": (8,),
    "transformer_blocks.0.ff.net.2.weight": (1, 4),
    "transformer_blocks.0.ff.net.2.bias": (1,),
}
#: the same for each of its attentions, numbered from 1
ATTENTION = {
    "transformer_blocks.0.norm{n}.weight": (1,),
    "transformer_blocks.0.norm{n}.bias": (1,),
    "transformer_blocks.0.attn{n}.to_q.weight": (1, 1),
    "transformer_blocks.0.attn{n}.to_k.weight": (1, 1),
    "transformer_blocks.0.attn{n}.to_v.weight": (1, 1),
    "transformer_blocks.0.attn{n}.to_out.0.weight": (1, 1),
    "transformer_blocks.0.attn{n}.to_out.0.bias": (1,),
}
_SITE = re.compile(r"unet\.((?:(down|up)_blocks\.(\d+)|mid_block)\.motion_modules\.(\d+))\.(.+)")


def check_motion(
    tensors: Mapping[str, LazyTensor], source: str, *, attentions: int, has_up_blocks: bool = True
) -> None:
    """Raise `IntegrityError` for missing or wrongly shaped weights.

    `attentions` per transformer block: 2, or 1 for SparseCtrl. `has_up_blocks`: expect down and up blocks, with one
    more module per up block. A SparseCtrl has down blocks only.
    """
    sites = _sites(tensors)
    if has_up_blocks:
        _check_sites(sites, source)
    for site, found in sites.items():
        expected = site_shapes(found.get("norm.weight"), attentions)
        if missing := sorted(expected.keys() - found.keys()):
            raise IntegrityError(
                f"{source} lacks motion weights, first `{site}.{missing[0]}`",
                hint="download the file again, or convert it again from its source",
            )
        for name, shape in expected.items():
            if found[name].shape != shape:
                raise IntegrityError(f"{source}: `{site}.{name}` has shape {found[name].shape}, not {shape}")


def site_shapes(norm: LazyTensor | None, attentions: int) -> dict[str, tuple[int, ...]]:
    """Return the shape of every weight of a temporal transformer with this norm."""
    width = norm.num_rows if norm else 0
    factors = OUTER | {
        name.format(n=number): shape for number in range(1, attentions + 1) for name, shape in ATTENTION.items()
    }
    return {name: tuple(width * factor for factor in shape) for name, shape in factors.items()}


def _sites(tensors: Mapping[str, LazyTensor]) -> dict[str, dict[str, LazyTensor]]:
    sites: dict[str, dict[str, LazyTensor]] = {}
    for key, tensor in tensors.items():
        if match := _SITE.fullmatch(key):
            sites.setdefault(match[1], {})[match[5]] = tensor
    return sites


def _check_sites(sites: Iterable[str], source: str) -> None:
    present = set(sites)
    places = [(match[1], int(match[2]), int(match[3])) for site in present if (match := _place(site))]
    levels = 1 + max((level for _, level, _ in places), default=0)
    layers = 1 + max((layer for side, _, layer in places if side == "down"), default=0)
    expected = {
        f"{side}_blocks.{level}.motion_modules.{layer}"
        for side, count in (("down", layers), ("up", layers + 1))
        for level in range(levels)
        for layer in range(count)
    }
    if missing := sorted(expected - present):
        raise IntegrityError(
            f"{source} lacks {len(missing)} of {len(expected)} temporal transformers, first `{missing[0]}`",
            hint="download the file again, or convert it again from its source",
        )


def _place(site: str) -> re.Match[str] | None:
    return re.fullmatch(r"(down|up)_blocks\.(\d+)\.motion_modules\.(\d+)", site)
