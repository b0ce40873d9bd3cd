"""The report: one HTML file that holds the clips, their figures and what the figures mean. Needs no network."""

import base64
import tempfile
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path

from animdiff_cli.core.formats import MEDIA_TYPES
from animdiff_cli.errors import UsageError
from animdiff_cli.files.atomic import atomic_write_text
from animdiff_cli.files.os_errors import readable_output_failures
from animdiff_cli.metrics.figures import NONE, ClipFigures, columns, mean_values, told
from animdiff_cli.metrics.measures import Measure
from animdiff_cli.outputs import write_clip
from animdiff_cli.outputs.read import read_clip

REPORT_FILE = "report.html"
#: small clips are shown at a multiple of their size that comes near this, px
SHOWN_WIDTH = 320
_STYLE = Path(__file__).with_name("report.css")


def report_path(path: Path, *, overwrite: bool = False) -> Path:
    """Settle where a report goes: `path`, or `report.html` in it where it has no `.html`.

    Raises `UsageError` where there is one already and not `overwrite`, or where a folder is in the way.
    """
    path = path.expanduser()
    target = path if path.suffix.lower() in (".html", ".htm") and not path.is_dir() else path / REPORT_FILE
    if target.is_dir() or (target.exists() and not overwrite):
        raise UsageError(f"{target} exists", hint="add `--overwrite`, or name another with `--report`")
    return target


def write_report(clips: Sequence[ClipFigures], notes: Sequence[str], path: Path) -> Path:
    """Write the report to `path`, whole or not at all. Raises `UsageError` where that place cannot be written."""
    page = render(clips, [_media(clip) for clip in clips], notes)
    with readable_output_failures(path, "--report"):
        atomic_write_text(path, page, newline="\n")
    return path


def render(clips: Sequence[ClipFigures], media: Sequence[str], notes: Sequence[str]) -> str:
    """Lay out the page; `media` holds the HTML element that shows each clip."""
    shown = columns(clips, details=True)
    pairs = enumerate(zip(clips, media, strict=True))
    cards = "\n".join(_card(number, clip, element, shown) for number, (clip, element) in pairs)
    count = f"{len(clips)} clip{'s' if len(clips) != 1 else ''}"
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Evaluation of {count}</title>
<style>
{_STYLE.read_text(encoding="utf-8").strip()}
</style>
</head>
<body>
<header>
<h1>Evaluation of {count}</h1>
{"".join(f"<p>{escape(note)}</p>" for note in notes)}
</header>
{_overview(clips)}
<main>
{cards}
</main>
<footer>
<h2>What the figures mean</h2>
<p>↑ more is better, ↓ less is better, →1 best at one, · neither good nor bad by itself.</p>
<dl>
{"".join(_definition(measure) for measure in shown)}
<dt>camera</dt><dd>motion of the whole picture, per frame: pan, tilt, zoom and roll by robust alignment</dd>
</dl>
</footer>
</body>
</html>
"""


def _overview(clips: Sequence[ClipFigures]) -> str:
    """Lay out all clips in one table, with the mean of several."""
    if len(clips) < 2:
        return ""
    shown = columns(clips)
    head = "".join(f"<th>{escape(measure.title)}<small>{escape(measure.unit)}</small></th>" for measure in shown)
    rows = [
        f'<tr><th><a href="#clip-{index}">{escape(clip.path.name)}</a></th>{_cells(clip.values, shown)}'
        f"<td>{escape(_camera(clip))}</td></tr>"
        for index, clip in enumerate(clips)
    ]
    mean = f"<tr><th>mean</th>{_cells(mean_values(clips), shown)}<td></td></tr>"
    return f"""<section class="overview"><table>
<thead><tr><th>clip</th>{head}<th>camera</th></tr></thead>
<tbody>{"".join(rows)}</tbody>
<tfoot>{mean}</tfoot>
</table></section>"""


def _cells(values: Mapping[str, float | None], shown: Sequence[Measure]) -> str:
    return "".join(f"<td>{told(measure.key, values.get(measure.key))}</td>" for measure in shown)


def _card(number: int, clip: ClipFigures, element: str, shown: Sequence[Measure]) -> str:
    figures = "".join(
        f'<tr title="{escape(measure.meaning)}"><th>{escape(measure.title)}</th>'
        f"<td>{told(measure.key, clip.values[measure.key])}</td><td>{escape(measure.unit)}</td></tr>"
        for measure in shown
        if measure.key in clip.values
    )
    rate = f", {clip.fps:g} fps" if clip.fps else ""
    prompt = f'<p class="prompt">{escape(clip.prompt)}</p>' if clip.prompt else ""
    return f"""<article id="clip-{number}">
<figure>{element}</figure>
<div>
<h2>{escape(str(clip.path))}</h2>
{prompt}<p class="facts">{clip.num_frames} frames of {clip.width}×{clip.height}{rate}</p>
<table>{figures}</table>
<p class="facts">camera: {escape(_camera(clip))}</p>
{_bars(clip.steps)}
</div>
</article>"""


def _camera(clip: ClipFigures) -> str:
    return str(clip.camera) if clip.camera else NONE


def _bars(steps: Sequence[float]) -> str:
    """Draw how far each frame is from the next; the last bar, set apart, leads back to the first."""
    if not steps:
        return ""
    *between, seam = (40 * step / max(*steps, 1.0) for step in steps)
    bars = "".join(_bar(8 * index, height) for index, height in enumerate(between))
    last = 8 * len(between) + 4
    return f"""<svg viewBox="0 0 {last + 6} 40" width="{last + 6}" height="40" role="img"><title>change from frame to \
frame; the last bar is the seam</title>{bars}<g class="seam">{_bar(last, seam)}</g></svg>"""


def _bar(left: int, height: float) -> str:
    return f'<rect x="{left}" y="{40 - height:.1f}" width="6" height="{height:.1f}"/>'


def _definition(measure: Measure) -> str:
    return f"<dt>{escape(measure.title)} <small>{escape(measure.unit)}</small></dt><dd>{escape(measure.meaning)}</dd>"


def _media(clip: ClipFigures) -> str:
    """Embed a clip: as it is where browsers play it, else as WebP."""
    kind = MEDIA_TYPES.get(clip.path.suffix.lower()) if clip.path.is_file() else None
    if kind:
        return _element(clip, kind, clip.path.read_bytes())
    with tempfile.TemporaryDirectory() as folder:
        frames = read_clip(clip.path).frames
        written = write_clip(frames, clip.fps or 8, Path(folder, "clip.webp"), "webp", {})
        return _element(clip, "image/webp", written.read_bytes())


def _element(clip: ClipFigures, kind: str, content: bytes) -> str:
    times = max(1, round(SHOWN_WIDTH / clip.width))
    size = f'width="{clip.width * times}" height="{clip.height * times}"'
    address = f"data:{kind};base64,{base64.b64encode(content).decode()}"
    if kind.startswith("video/"):
        return f'<video {size} src="{address}" autoplay loop muted playsinline controls></video>'
    return f'<img {size} src="{address}" alt="{escape(clip.prompt or clip.path.name)}">'
