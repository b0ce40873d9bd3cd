"""`--image-prompt`: the pictures of each IP-Adapter, read for a clip."""

from collections.abc import Sequence

from animdiff_cli.config.input_settings import ImagePromptEntry
from animdiff_cli.config.layers import Resolved
from animdiff_cli.config.load import flag_name
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.core.where import Timeline
from animdiff_cli.diffusion.conditions import Condition, ImagePromptCondition, Strength
from animdiff_cli.diffusion.image_prompt import ImagePromptNetwork
from animdiff_cli.errors import UsageError
from animdiff_cli.jobs.media import open_input, read_for_clip

FLAG = "--image-prompt"


def check_image_encoder(resolved: Resolved[GenerateConfig]) -> None:
    """Raise `UsageError` for `--image-encoder` without an image prompt. Presets may have it for later use."""
    flag = flag_name("image_encoder")
    if resolved.origins["image_encoder"] == flag and not resolved.values["image_prompts"]:
        raise UsageError(f"`{flag}` has no effect without an image prompt", hint=f"add `{FLAG} REF=PICTURE`")


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
