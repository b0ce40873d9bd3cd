"""What well-known clips need, so that `animdiff doctor` can say without a model what `--low-vram auto` would do."""

from collections.abc import Iterator, Mapping

from animdiff_cli.core.memory_levels import HEADROOM, MemoryLevel, MemoryNeed, choose_level

#: in fp16 with guidance, counted by `jobs.cost.count_need` from checkpoints and motion modules of true size
EXAMPLES: Mapping[str, MemoryNeed] = {
    "SD1.5, 16 frames of 512x512": MemoryNeed(
        denoiser=2_555_569_928,
        resident=163_874_568,
        others=413_428_686,
        vae=167_307_726,
        unit=65_699_840,
        activations=2_264_924_160,
        grouped=1_342_177_280,
        frame=402_653_184,
        latent_side=64,
        frames=16,
    ),
    "SDXL, 8 frames of 1024x1024": MemoryNeed(
        denoiser=5_609_919_368,
        resident=103_625_608,
        others=1_970_056_092,
        vae=334_615_452,
        unit=65_699_840,
        activations=5_368_709_120,
        grouped=3_523_215_360,
        frame=3_221_225_472,
        latent_side=128,
        frames=8,
    ),
}


def chosen_levels(free: int) -> Iterator[tuple[str, bool]]:
    """Describe what `auto` chooses for each example with `free` bytes, and why; and whether it fits by the count."""
    for clip, need in EXAMPLES.items():
        level = choose_level("auto", need, free)
        fits = need.of(level) * (1 + HEADROOM) <= free
        words = f"{clip}: `{level}`, which needs about {need.of(level) / 1e9:.1f} GB"
        if level != MemoryLevel():
            words += f"; everything on the GPU would need {need.of(MemoryLevel()) / 1e9:.1f} GB"
        yield words, fits
