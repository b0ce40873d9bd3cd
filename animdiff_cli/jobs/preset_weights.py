"""Weights that a preset needs but does not name: of preprocessors, and of the method of `images`."""

from collections.abc import Sequence

from animdiff_cli.config.layers import resolve
from animdiff_cli.config.presets import load_preset
from animdiff_cli.config.schema import GenerateConfig


def unnamed_weights(preset: str) -> Sequence[str]:
    """List their aliases. Of a control whose source is not here, the preprocessor of its network counts as needed.

    Raises `NotFound` for an unknown preset.
    """
    layer = load_preset(preset).layer()
    if not layer.values.keys() & {"controls", "preprocess", "image_method"}:
        return ()
    from animdiff_cli.jobs.image_method import weights_of_method  # torch loads here
    from animdiff_cli.jobs.preprocess_choice import usual_weights

    resolved = resolve(GenerateConfig, [layer])
    method = weights_of_method(resolved)
    return (*usual_weights(resolved.values), *((method.alias,) if method else ()))
