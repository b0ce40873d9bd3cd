"""The HTML report: one self-contained file with the clips, their metrics and the definitions."""

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path

from animdiff_cli.core.formats import MEDIA_TYPES
from animdiff_cli.core.text import counted
from animdiff_cli.files.atomic import atomic_write_text
from animdiff_cli.files.os_errors import readable_output_failures, temporary_folder
from animdiff_cli.metrics.results import (
    NOT_COMPUTED,
    ClipResult,
    Metric,
    computed_metrics,
    format_value,
    mean_values,
)
from animdiff_cli.outputs import write_clip
from animdiff_cli.outputs.html import END, begin_page, escaped, page_path
from animdiff_cli.outputs.read import read_clip

REPORT_FILE = "report.html"
#: px; small clips are shown at the multiple of their size that is closest to this
SHOWN_WIDTH = 320
_STYLE = Path(__file__).with_name("report.css")


def report_path(path: Path, *, overwrite: bool = False) -> Path:
    """Return the path of a report: `path` if it ends in `.html`, else `report.html` in the folder `path`.

    Raises `UsageError` if the file exists and `overwrite` is False, or if the path is a folder.
    """
    return page_path(path, REPORT_FILE, "--report", overwrite=overwrite)


def write_report(clips: Sequence[ClipResult], notes: Sequence[str], path: Path) -> Path:
    """Write the report to `path` atomically. Raises `UsageError` if the path is not writable."""
    page = render(clips, [_media(clip) for clip in clips], notes)
    with readable_output_failures(path, "--report"):
        atomic_write_text(path, page, newline="\n")
    return path


def render(clips: Sequence[ClipResult], media: Sequence[str], notes: Sequence[str]) -> str:
    """Render the page as HTML. `media` contains the HTML element of each clip."""
    metrics = computed_metrics(clips, details=True)
    pairs = enumerate(zip(clips, media, strict=True))
    cards = "\n".join(_card(number, clip, element, metrics) for number, (clip, element) in pairs)
    count = f"{counted(len(clips), 'clip')}"
    style = _STYLE.read_text(encoding="utf-8")
    return f"""{begin_page(f"Evaluation of {count}", style)}<header>
<h1>Evaluation of {count}</h1>
{"".join(f"<p>{escaped(note)}</p>" for note in notes)}
</header>
{_overview(clips)}
<main>
{cards}
</main>
<footer>
<h2>Metrics</h2>
<p>↑ higher is better · ↓ lower is better · →1 best at 1 · metrics marked · have no better direction</p>
<dl>
{"".join(_definition(metric) for metric in metrics)}
<dt>camera</dt><dd>global motion per frame: pan, tilt, zoom and roll, by robust image registration</dd>
</dl>
</footer>
{END}"""


def _overview(clips: Sequence[ClipResult]) -> str:
    """Render the table of all clips and their mean; empty for one clip."""
    if len(clips) < 2:
        return ""
    metrics = computed_metrics(clips)
    head = "".join(f"<th>{escaped(metric.title)}<small>{escaped(metric.unit)}</small></th>" for metric in metrics)
    rows = [
        f'<tr><th><a href="#clip-{index}">{escaped(clip.path.name)}</a></th>{_cells(clip.values, metrics)}'
        f"<td>{escaped(_camera(clip))}</td></tr>"
        for index, clip in enumerate(clips)
    ]
    mean = f"<tr><th>mean</th>{_cells(mean_values(clips), metrics)}<td></td></tr>"
    return f"""<section class="overview"><table>
<thead><tr><th>clip</th>{head}<th>camera</th></tr></thead>
<tbody>{"".join(rows)}</tbody>
<tfoot>{mean}</tfoot>
</table></section>"""


def _cells(values: Mapping[str, float | None], metrics: Sequence[Metric]) -> str:
    return "".join(f"<td>{format_value(metric.key, values.get(metric.key))}</td>" for metric in metrics)


def _card(number: int, clip: ClipResult, element: str, metrics: Sequence[Metric]) -> str:
    rows = "".join(
        f'<tr title="{escaped(metric.meaning)}"><th>{escaped(metric.title)}</th>'
        f"<td>{format_value(metric.key, clip.values[metric.key])}</td><td>{escaped(metric.unit)}</td></tr>"
        for metric in metrics
        if metric.key in clip.values
    )
    rate = f", {clip.fps:g} fps" if clip.fps else ""
    prompt = f'<p class="prompt">{escaped(clip.prompt)}</p>' if clip.prompt else ""
    return f"""<article id="clip-{number}">
<figure>{element}</figure>
<div>
<h2>{escaped(clip.path)}</h2>
{prompt}<p class="facts">{counted(clip.num_frames, "frame")} of {clip.width}×{clip.height}{rate}</p>
<table>{rows}</table>
<p class="facts">camera: {escaped(_camera(clip))}</p>
{_step_chart(clip.steps)}
</div>
</article>"""


def _camera(clip: ClipResult) -> str:
    return str(clip.camera) if clip.camera else NOT_COMPUTED


def _step_chart(steps: Sequence[float]) -> str:
    """Draw the change between consecutive frames as bars; the last one, set apart, is the loop seam."""
    if not steps:
        return ""
    *between, seam = (40 * step / max(*steps, 1.0) for step in steps)
    bars = "".join(_bar(8 * index, height) for index, height in enumerate(between))
    last = 8 * len(between) + 4
    return f"""<svg viewBox="0 0 {last + 6} 40" width="{last + 6}" height="40" role="img"><title>change between \
consecutive frames; the last bar is the loop seam</title>{bars}<g class="seam">{_bar(last, seam)}</g></svg>"""


def _bar(left: int, height: float) -> str:
    return f'<rect x="{left}" y="{40 - height:.1f}" width="6" height="{height:.1f}"/>'


def _definition(metric: Metric) -> str:
    return f"<dt>{escaped(metric.title)} <small>{escaped(metric.unit)}</small></dt><dd>{escaped(metric.meaning)}</dd>"


def _media(clip: ClipResult) -> str:
    """Embed a clip unchanged if browsers play it, else as WebP."""
    media_type = MEDIA_TYPES.get(clip.path.suffix.lower()) if clip.path.is_file() else None
    if media_type:
        return _element(clip, media_type, clip.path.read_bytes())
    with temporary_folder({}) as folder:
        frames = read_clip(clip.path).frames
        written = write_clip(frames, clip.fps or 8, folder / "clip.webp", "webp", {})
        return _element(clip, "image/webp", written.read_bytes())


def _element(clip: ClipResult, media_type: str, content: bytes) -> str:
    zoom = max(1, round(SHOWN_WIDTH / clip.width))
    size = f'width="{clip.width * zoom}" height="{clip.height * zoom}"'
    address = f"data:{media_type};base64,{base64.b64encode(content).decode()}"
    if media_type.startswith("video/"):
        return f'<video {size} src="{address}" autoplay loop muted playsinline controls></video>'
    return f'<img {size} src="{address}" alt="{escaped(clip.prompt or clip.path.name)}">'
