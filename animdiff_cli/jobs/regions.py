"""`--region`: the mask and the prompt of each part of the picture, read for a clip."""

from functools import partial

import torch

from animdiff_cli.config.input_settings import RegionEntry
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.core.where import Timeline
from animdiff_cli.diffusion.conditions import Region, RegionsCondition
from animdiff_cli.diffusion.pipeline import EncodePrompt
from animdiff_cli.diffusion.prompt_rows import encode_regions
from animdiff_cli.jobs.masks import as_mask, chunks, mask_latents
from animdiff_cli.jobs.media import open_input, read_for_clip

FLAG = "--region"


def read_regions(config: GenerateConfig, encode: EncodePrompt, timeline: Timeline) -> list[RegionsCondition]:
    """Read the masks and encode the prompts of all regions; one condition, or none. Sources were checked before."""
    if not config.regions:
        return []
    regions = []
    for entry in map(RegionEntry.read, config.regions):
        opened, size = open_input(entry.source, FLAG), (config.width, config.height)
        pictures = read_for_clip(opened, entry, timeline, size, partial(as_mask, feather=entry.feather))
        parts = [mask_latents(pictures.chunk(part)) for part in chunks(len(pictures.pictures))]
        regions.append(Region(torch.cat(parts, dim=2)[0, 0], pictures.of_frame, entry.weight))
    own = partial(encode, clip_skip=config.clip_skip, syntax=config.prompt_syntax)
    return [RegionsCondition(regions, encode_regions(own, config, timeline))]
