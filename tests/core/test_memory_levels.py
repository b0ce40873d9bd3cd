"""The choice of a memory level, on the counted need of an SD1.5 clip."""

import pytest

from animdiff_cli.core.memory_levels import MemoryLevel, MemoryNeed, choose_level

GB = 10**9
#: 16 frames of 512 by 512 pixels
NEED = MemoryNeed(
    denoiser=round(2.55 * GB),
    resident=round(0.17 * GB),
    others=round(0.41 * GB),
    vae=round(0.17 * GB),
    unit=64 << 20,
    activations=round(2.26 * GB),
    grouped=round(1.7 * GB),
    frame=round(0.4 * GB),
    latent_side=64,
    frames=16,
)


@pytest.mark.parametrize(
    ("free", "level"),
    [
        (8.0, "off"),
        (5.6, "offload"),
        (3.0, "sequential"),
        (2.2, "sequential, 4 frame groups"),
        (0.4, "sequential, 4 frame groups, VAE tiles of 256 pixels"),
    ],
)
def test_auto_takes_the_fastest_level_that_fits(free, level):
    chosen = choose_level("auto", NEED, round(free * GB))
    assert str(chosen) == level
    assert free < 1 or NEED.of(chosen) <= free * GB


def test_the_user_decides_where_weights_are():
    assert choose_level("off", NEED, GB) == MemoryLevel()
    assert choose_level("offload", NEED, 80 * GB).mode == "offload"
    assert choose_level("sequential", NEED, 80 * GB) == MemoryLevel("sequential")
    assert choose_level("auto", NEED, None) == MemoryLevel()


@pytest.mark.parametrize("phase", ["denoising", "decoding"])
def test_every_level_needs_less_than_the_one_before(phase):
    levels = list(MemoryLevel().below(phase))
    needs = [getattr(NEED, phase)(level) for level in levels]
    assert needs == sorted(needs, reverse=True)
    assert levels[-1].next(phase) is None and len(levels) >= 4


def test_loras_of_single_frames_forbid_groups():
    assert choose_level("auto", NEED, round(2.2 * GB), can_group=False).groups == 1
