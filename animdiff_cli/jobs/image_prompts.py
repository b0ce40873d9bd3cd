"""`--image-prompt`: the pictures of each IP-Adapter, read for a clip."""

from collections.abc import Sequence

from animdiff_cli.config.input_settings import ImagePromptEntry
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.core.where import Timeline
from animdiff_cli.diffusion.conditions import Condition, ImagePromptCondition, Strength
from animdiff_cli.diffusion.image_prompt import ImagePromptNetwork
from animdiff_cli.jobs.media import open_input, read_for_clip

FLAG = "--image-prompt"


def read_image_prompts(
    config: GenerateConfig, networks: Sequence[ImagePromptNetwork], timeline: Timeline
) -> list[Condition]:
    """Read the pictures of every image prompt at the size of its encoder. Sources were checked with all inputs."""
    conditions: list[Condition] = []
    for value, network in zip(config.image_prompts, networks, strict=True):
        entry = ImagePromptEntry.read(value)
        size = network.side, network.side
        pictures = read_for_clip(open_input(entry.source, FLAG), entry, timeline, size)
        conditions.append(ImagePromptCondition(network, pictures, Strength(entry.scale, entry.start, entry.end)))
    return conditions
