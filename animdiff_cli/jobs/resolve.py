"""Resolve the settings of a render, with what its weights, its video and its clip to continue say."""

from collections.abc import Sequence

from animdiff_cli.config.layers import Layer, Resolved, resolve
from animdiff_cli.config.schema import GenerateConfig
from animdiff_cli.config.several_modules import with_first_module
from animdiff_cli.jobs.image_method import with_image_method
from animdiff_cli.jobs.prompts import PromptOptions, with_negative_travel
from animdiff_cli.registry.recommend import with_recommended
from animdiff_cli.registry.store import require_model

NO_OPTIONS = PromptOptions()


def resolve_render(layers: Sequence[Layer], options: PromptOptions = NO_OPTIONS) -> Resolved[GenerateConfig]:
    """Resolve the settings of a render, with what the chosen weights recommend. Raises `AnimdiffError`."""
    layers = with_image_method(with_given_shape(with_first_module(layers)))
    layers = _with_preprocess_weights(with_recommended(layers))
    resolved = with_negative_travel(resolve(GenerateConfig, layers), options.negative)
    model = resolved.values.get("model")
    require_model(model if isinstance(model, str) else None)
    return resolved


def with_given_shape(layers: Sequence[Layer]) -> list[Layer]:
    """Add the size, rate and length of a clip to continue, or of a video, below the layers that name one."""
    shaped = list(layers)
    if any("continue_from" in layer.values for layer in layers):
        from animdiff_cli.jobs.continuation import with_size_of_clip  # torch loads here

        shaped = with_size_of_clip(shaped)
    if any("video" in layer.values for layer in layers):
        from animdiff_cli.jobs.source_video import with_shape_of_video

        shaped = with_shape_of_video(shaped)
    return shaped


def _with_preprocess_weights(layers: Sequence[Layer]) -> Sequence[Layer]:
    if not any(key.partition(".")[0] == "controls" for layer in layers for key in layer.values):
        return layers
    from animdiff_cli.jobs.preprocess_choice import with_preprocess_weights  # torch loads here

    return with_preprocess_weights(layers)
