"""Measure the page of a large gallery in headless Chromium: its size, loading, scrolling, filtering and playing.

Run `python -m benchmarks.gallery`. Needs `/usr/bin/chromium`. The clips are those of the documentation, with recipes of
a batch. Frame times are the times between two calls of `requestAnimationFrame` while the page scrolls by 120 pixels per
frame; those of an empty page in the same browser are printed beside them.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from playwright.sync_api import Page, sync_playwright

from animdiff_cli.core.timing import gif_delays
from animdiff_cli.jobs.gallery import make_gallery, plan_gallery
from animdiff_cli.outputs.gif import set_delays, write_gif
from animdiff_cli.outputs.provenance import recipe_text
from animdiff_cli.outputs.read import read_clip

MEDIA = Path(__file__).parents[1] / "docs" / "media"
CLIPS = ("rocket", "ball", "balloon", "pan", "crayon", "neon", "loop")
CHROMIUM = "/usr/bin/chromium"

SCROLL = """async (frames) => {
    const times = [];
    let last = await new Promise(requestAnimationFrame);
    for (let frame = 0; frame < frames; frame += 1) {
        scrollBy(0, 120);
        const now = await new Promise(requestAnimationFrame);
        times.push(now - last);
        last = now;
    }
    return times;
}"""
#: milliseconds until the next frame after a change of the page
LATENCY = """async (change) => {
    const start = performance.now();
    change();
    await new Promise(requestAnimationFrame);
    await new Promise((done) => setTimeout(done));
    return performance.now() - start;
}"""


def main() -> None:
    """Write the clips and the pages, measure them, and print one JSON object for each."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--frames", type=int, default=600, help="frames to scroll")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, sync_playwright() as playwright:
        folder = Path(name)
        _write_clips(folder / "clips", options.clips)
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        for link in (False, True):
            began = time.monotonic()
            page_file = make_gallery(plan_gallery([folder / "clips"], folder / f"page-{link}.html", link=link)).page
            seconds = time.monotonic() - began
            page = browser.new_page(viewport={"width": 1280, "height": 800})
            facts = {"clips": options.clips, "link": link, "seconds_to_write": round(seconds, 1)}
            facts["page_mb"] = round(page_file.stat().st_size / 1e6, 1)
            print(json.dumps(facts | dict(_measure(page, page_file, options.frames))), flush=True)
            page.close()
        browser.close()


def _write_clips(folder: Path, count: int) -> None:
    folder.mkdir()
    sources = []
    for name in CLIPS:
        clip = read_clip(MEDIA / f"{name}.gif")
        write_gif(clip.frames, 8, folder / "source.gif", "")
        sources.append(((folder / "source.gif").read_bytes(), gif_delays(len(clip.frames), 8)))
    (folder / "source.gif").unlink()
    for number in range(count):
        seed, kind = divmod(number, len(sources))
        config = {
            "prompt": f"a {CLIPS[kind]} in the snow",
            "model": "pocket",
            "seed": seed % 20,
            "steps": 12 + seed // 20,
        }
        gif, delays = sources[kind]
        recipe = recipe_text({"config": config | {"num_frames": 16, "fps": 8, "width": 128, "height": 128}})
        (folder / f"{number:04d}.gif").write_bytes(set_delays(gif, delays, recipe))


def _measure(page: Page, page_file: Path, frames: int) -> Iterator[tuple[str, Any]]:
    page.set_content("<div style='height: 60000px'>empty</div>")
    yield "empty_scroll_ms", _summary(page.evaluate(SCROLL, frames))
    began = time.monotonic()
    page.goto(page_file.as_uri(), wait_until="commit", timeout=60_000)
    page.locator(".card").first.wait_for()
    yield "seconds_to_first_card", round(time.monotonic() - began, 2)
    page.wait_for_load_state("load", timeout=60_000)
    yield "seconds_to_load", round(time.monotonic() - began, 2)
    yield "scroll_ms", _summary(page.evaluate(SCROLL, frames))
    page.evaluate("scrollTo(0, 0)")
    yield "again_ms", _summary(page.evaluate(SCROLL, frames))
    for name, change in {
        "filter_ms": "document.querySelector('.filter[data-key=seed] input').click()",
        "all_again_ms": "document.querySelector('.filter[data-key=seed] input').click()",
        "group_ms": "(byId('group').value = 'prompt', byId('group').dispatchEvent(new Event('change')))",
        "plot_ms": "setView('plot')",
        "grid_ms": "setView('grid')",
    }.items():
        yield name, round(page.evaluate(f"() => ({LATENCY})(() => {change})"))
    page.evaluate("scrollTo(0, 0); togglePlayAll()")
    page.locator("canvas.ready").first.wait_for()
    page.wait_for_timeout(1000)
    yield "playing", page.locator("canvas.ready").count()
    yield "scroll_playing_ms", _summary(page.evaluate(SCROLL, frames))
    yield "heap_mb", round(page.evaluate("performance.memory.usedJSHeapSize") / 1e6)


def _summary(times: list[float]) -> dict[str, float]:
    """Return the median, the 95th percentile and the longest of frame times, in ms."""
    cuts = statistics.quantiles(times, n=20)
    return {"median": round(cuts[9], 1), "p95": round(cuts[18], 1), "max": round(max(times), 1)}


if __name__ == "__main__":
    main()
