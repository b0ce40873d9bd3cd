"""The numbers in tables of the documentation are recorded in `benchmarks/results`, or counted."""

import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks import fast, memory_table, operations
from benchmarks.records import recorded

ROOT = Path(__file__).parents[1]
SPEED = "docs/concepts/speed.md"
#: (page, beginning of a table, file of results)
TABLES = (
    ("README.md", "| device, model |", "generate"),
    ("README.md", "| model, frames of |", "train"),
    (SPEED, "| | animdiff | diffusers |", "generate"),
    (SPEED, "| | diffusers | without kernels |", "generate"),
    (SPEED, "| bf16, heads x queries", "cpu_attention"),
    (SPEED, "| fp32 with AVX2, heads x queries", "cpu_attention"),
    (SPEED, "| fp32, images x channels", "cpu_layers"),
)


def rows(page: str, begin: str) -> list[list[str]]:
    """Return the cells of the first table of a page that begins so, without its head and first column."""
    text = (ROOT / page).read_text()
    assert begin in text, f"{page} has no table that begins with {begin}"
    lines = (text[text.index(begin) :]).partition("\n\n")[0].splitlines()[2:]
    return [[cell.strip() for cell in line.strip("|").split("|")][1:] for line in lines]


def numbers(value: object) -> Iterator[float]:
    """Yield the numbers of a record."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        for part in value:
            yield from numbers(part)
    elif isinstance(value, (int, float)):
        yield float(value)


def figures(record: dict) -> list[float]:
    """Return what a page may quote of a record: its numbers, bytes as GB, and times relative to those of diffusers."""
    found = [*numbers(record)]
    steps = {name: contender["seconds"] for name, contender in record.get("contenders", {}).items()}
    timed = (times for times in (steps, record.get("seconds_decode", {})) if "diffusers" in times)
    ratios = [times["diffusers"] / seconds for times in timed for seconds in times.values()]
    return [*found, *(number / 1e9 for number in found), *ratios]


def is_among(written: str, found: list[float]) -> bool:
    """Whether a number may be rounded to what is written: records are rounded too, halves up or down."""
    half = 0.5001 * 0.1 ** len(written.partition(".")[2])
    return any(abs(number - float(written)) <= half for number in found)


@pytest.mark.parametrize(("page", "begin", "name"), TABLES)
def test_every_row_of_a_table_is_in_one_record(page, begin, name):
    records = [figures(record) for record in recorded(name)]
    for cells in rows(page, begin):
        written = re.findall(r"\d+\.\d+", " ".join(cells))
        assert written
        assert any(all(is_among(one, found) for one in written) for found in records), cells


def test_what_compiling_costs_on_a_cpu_is_recorded():
    first, cached = [r for r in recorded("generate") if "animdiff blocks" in r.get("first_clip_seconds", ())][:2]
    table = rows(SPEED, "| | without | compiled |")
    ways = ("animdiff plain", "animdiff blocks")
    expected = [[record["first_clip_seconds"][way] for way in ways] for record in (first, cached)]
    expected.append([first["seconds_per_step"][way] for way in ways])
    assert all(
        is_among(one, [value])
        for cells, row in zip(table, expected, strict=True)
        for one, value in zip(cells, row, strict=True)
    )
    levels = first["levels_from_plain"]["animdiff blocks"]
    page = (ROOT / SPEED).read_text()
    assert f"at most {levels['max']:.0f} level of 255, {levels['mean']} on average" in page


def test_shares_and_levels_of_a_cpu_are_recorded():
    groups = (["attention"], ["matrix products"], ["convolution"], ["elementwise"], ["norms"], ["copies", "other"])
    ways = ("animdiff plain", "animdiff")
    profiles = [record.get("profiles", {}) for record in recorded("generate")]
    steps = [[profile[way]["step"] for way in ways] for profile in profiles if profile.keys() >= {*ways}]
    tables = [
        [[f"{sum(step[one] for one in group) / sum(step.values()):.0%}" for step in pair] for group in groups]
        for pair in steps
    ]
    written = [[cell.replace(" %", "%") for cell in cells] for cells in rows(SPEED, "| | without kernels | with |")]
    assert written in tables
    page = " ".join((ROOT / SPEED).read_text().split())
    written = page[page.index("**Exactness.**") : page.index("## Checked")]
    of_records = [r[key] for r in recorded("generate") for key in ("levels_from_plain", "levels_from_fp32") if key in r]
    levels = [*numbers(of_records)]
    assert all(is_among(one, levels) for one in re.findall(r"\d+\.\d+", written))


def test_a_number_that_nothing_recorded_is_found():
    record = json.loads('{"seconds": {"animdiff": 0.17189}, "peak_bytes": 2268000000}')
    assert is_among("0.172", figures(record)) and is_among("2.27", figures(record))
    assert not is_among("0.171", figures(record)) and not is_among("2.26", figures(record))


def test_the_table_of_seconds_against_quality_is_recorded():
    page = rows("docs/guides/fast.md", "|  | CPU s |")
    table = fast.table(recorded("fast")).splitlines()[2:]
    assert page == [[cell.strip() for cell in line.strip("|").split("|")][1:] for line in table]


def test_shares_of_reused_calls_are_recorded():
    page = " ".join((ROOT / "docs/guides/fast.md").read_text().split())
    for record in recorded("deep_call"):
        seconds = record["seconds"]
        share = f"{100 * seconds['reusing'] / seconds['whole']:.{1 if record['model'] == 'sd15' else 0}f} %"
        assert share in page
        if record["model"] == "sd15":
            means = [f"{seconds[way] / seconds['whole']:.2f} " for way in ("deep:2", "deep:3")]
            assert all(mean in page for mean in means)


def test_memory_of_decoding_and_beside_the_weights_is_counted():
    page = " ".join((ROOT / "docs/guides/small-cards.md").read_text().split())
    off = [r for r in memory_table.records() if (r["level"], r["card_gb"], r["weights_dtype"]) == ("off", None, "same")]
    clips = {record["clip"]: record for record in off}
    frame = {
        clip: (record["bytes"]["decoding"] - record["bytes"]["loading"]) / record["frames_decoded_at_once"] / 1e9
        for clip, record in clips.items()
    }
    small, large, sdxl = (f"{frame[clip]:.1f} GB" for clip in ("sd15, 16 x 512²", "sd15, 16 x 768²", "sdxl, 8 x 1024²"))
    assert f"{small} for each frame that is decoded at once at 512x512, {large} at 768x768, and {sdxl} for SDXL" in page
    of_clip = clips["sd15, 16 x 512²"]["bytes"]
    assert f"this one is counted at {(of_clip['denoising'] - of_clip['loading']) / 1e9:.2f} GB" in page
    (measured, *_) = [record for record in recorded("generate") if record["model"] == "sd15"]
    assert f"took {measured['peak_gb_above_resident']['animdiff']:.2f} GB beside the weights" in page


def test_the_loss_of_8_bits_is_recorded():
    page = " ".join((ROOT / "docs/guides/small-cards.md").read_text().split())
    (*_, record) = recorded("fp8")
    assert record["clips"] == 3 and "three clips of the pocket model" in page
    assert f"a PSNR of {record['psnr']:.1f} dB on average (SSIM {record['ssim']:.3f}" in page


def test_shares_of_operations_are_counted():
    sd15, small, sdxl = operations.CLIPS
    speed = " ".join((ROOT / SPEED).read_text().split())
    parts = {part: f"{share:.0%}".replace("%", " %") for part, share in operations.shares(sd15).items()}
    assert (
        f"{parts['ResNets']} are convolutions of ResNets, {parts['motion modules']} motion modules,"
        f" {parts['feed-forward layers']} feed-forward layers and {parts['self-attention of images']} self-attention of"
        f" images, and {parts['sampling']} sampling up and down" in speed
    )
    fast_page = " ".join((ROOT / "docs/guides/fast.md").read_text().split())
    kept = [f"{100 * operations.reusing_share(clip):.1f} %" for clip in (sd15, sdxl)]
    assert f"these two are {kept[0]} in SD1.5 and {kept[1]} in SDXL" in fast_page
    merged = [100 * operations.merging_share(clip) for clip in (sd15, small)]
    assert f"{merged[0]:.0f} % of the operations of a step of SD1.5 at 512 px" in fast_page
    assert f"{merged[1]:.1f} % at 256 px" in fast_page
