"""Make a gallery of clips: the Python API behind `animdiff gallery`."""

import json
import os
import warnings
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import quote

from animdiff_cli.core.events import Emit, Note, Prepared, Writing, Written, ignore
from animdiff_cli.core.formats import BY_SUFFIX
from animdiff_cli.core.text import counted
from animdiff_cli.errors import AnimdiffError, NotFound, UsageError
from animdiff_cli.files.os_errors import unexpected_failure
from animdiff_cli.gallery.clips import MAX_RECIPE_BYTES, GalleryClip
from animdiff_cli.gallery.page import GALLERY_FILE, check_sheets_folder, sheets_folder, write_gallery
from animdiff_cli.gallery.preview import Preview, make_preview
from animdiff_cli.jobs.batch.manifest import Manifests
from animdiff_cli.jobs.clip_files import find_clips
from animdiff_cli.outputs import read_recipe
from animdiff_cli.outputs.html import page_path
from animdiff_cli.outputs.provenance import NoRecipe
from animdiff_cli.outputs.read import read_clip
from animdiff_cli.paths import expanded

#: longest side of a frame on the page, in px
PREVIEW_SIZE = 256
#: a thread may hold a clip of half a gigabyte twice
MAX_THREADS = 4
#: bytes; above, a page takes seconds to open
LARGE_PAGE = 256 << 20
DEFAULT_FPS = 8.0
MAX_FPS = 1000.0


@dataclass(frozen=True, slots=True)
class GalleryPlan:
    """The clips and the files of a gallery, found and checked before a clip is decoded."""

    title: str
    clips: tuple[Path, ...]
    page: Path
    link: bool = False
    size: int = PREVIEW_SIZE
    notes: tuple[str, ...] = ()  # of manifests: jobs without a clip


@dataclass(slots=True)
class Gallery:
    """A written gallery."""

    page: Path
    clips: int = 0
    without_recipe: list[str] = field(default_factory=list)
    left_out: dict[str, str] = field(default_factory=dict)  # clip that cannot be read → reason

    def record(self) -> dict[str, Any]:
        """Return the gallery for JSON."""
        return {
            "page": str(self.page),
            "clips": self.clips,
            "without_recipe": self.without_recipe,
            "left_out": self.left_out,
        }


def plan_gallery(
    paths: Sequence[Path],
    output: Path = Path(GALLERY_FILE),
    *,
    link: bool = False,
    size: int = PREVIEW_SIZE,
    overwrite: bool = False,
) -> GalleryPlan:
    """Find the clips and check the output. `output` is a file that ends in `.html`, or a folder.

    Raises `NotFound` for a path that does not exist, `UsageError` for one without clips or an output that exists.
    """
    page = page_path(output, GALLERY_FILE, "--output", overwrite=overwrite)
    if link:
        check_sheets_folder(sheets_folder(page), overwrite=overwrite)
    names = [path.name or str(path) for path in paths]
    title = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    notes: list[str] = []
    clips = dict.fromkeys(clip for path in paths for clip in _find(expanded(path), notes))
    return GalleryPlan(title, tuple(clips), page, link, size, tuple(notes))


def make_gallery(plan: GalleryPlan, emit: Emit = ignore) -> Gallery:
    """Read the clips of a plan and write its page.

    A clip that cannot be read is left out, with a note. Raises `UsageError` if none can be read.
    """
    gallery = Gallery(plan.page)
    for note in plan.notes:
        emit(Note(note))
    gallery.clips = write_gallery(plan.title, _clips(plan, gallery, emit), plan.page, link=plan.link)
    if gallery.without_recipe:
        emit(Note(f"{counted(len(gallery.without_recipe), 'clip')} without a recipe: {_some(gallery.without_recipe)}"))
    size = plan.page.stat().st_size
    if size > LARGE_PAGE:
        emit(Note(f"the page has {size >> 20} MiB, which browsers open slowly: `--link` keeps it small"))
    emit(Written(plan.page, size))
    return gallery


def _find(path: Path, notes: list[str]) -> list[Path]:
    return _finished(path, notes) if path.suffix.lower() == ".jsonl" else find_clips([path], everything=True)


def _finished(manifest: Path, notes: list[str]) -> list[Path]:
    """List the clips of the jobs that manifests in a folder record as done, one for each job. Adds notes on the others.

    Manifests are untrusted: a path that leaves their folder is not followed.
    """
    if not manifest.is_file():
        raise NotFound(f"no manifest `{manifest}`", hint="a batch writes `manifest.jsonl` into its output folder")
    manifests = Manifests(manifest.parent)
    found: list[Path] = []
    states = Counter[str]()
    lost: list[str] = []
    for line in manifests.latest().values():
        if line.state != "done" or not line.outputs:
            states[line.state] += 1
            continue
        name = PurePosixPath(next(iter(line.outputs.values())).path)
        clip = manifest.parent / name
        if name.is_absolute() or ".." in name.parts or not clip.exists():
            lost.append(str(clip))
        else:
            found.append(clip)
    notes += manifests.notes
    if states:
        counts = ", ".join(f"{count} {state}" for state, count in sorted(states.items()))
        notes.append(f"{counted(states.total(), 'job')} of `{manifest}` without a clip: {counts}")
    if lost:
        notes.append(f"{counted(len(lost), 'clip')} of `{manifest}` not in its folder: {_some(lost)}")
    if not found:
        raise UsageError(f"`{manifest}` lists no finished clip", hint="see `animdiff batch status`")
    return found


def _clips(plan: GalleryPlan, gallery: Gallery, emit: Emit) -> Iterator[tuple[GalleryClip, Preview, str | None]]:
    threads = max(1, min(MAX_THREADS, os.cpu_count() or 1))
    total = len(plan.clips)
    # threads that ignore warnings would leave them ignored
    with warnings.catch_warnings(), ThreadPoolExecutor(threads) as pool:
        read = pool.map(partial(_read, size=plan.size), plan.clips)
        for number, (path, result) in enumerate(zip(plan.clips, read, strict=True), start=1):
            if isinstance(result, AnimdiffError):
                gallery.left_out[str(path)] = str(result)
                emit(Note(f"left out: {result}"))
            else:
                clip, preview = result
                if clip.recipe is None:
                    gallery.without_recipe.append(str(path))
                yield clip, preview, _address(path, plan.page) if plan.link else None
            emit(Prepared("clips", number, total))
    if len(gallery.left_out) == total:
        raise UsageError(f"none of {counted(total, 'clip')} can be read", hint="the notes above name the reasons")
    emit(Writing(plan.page))


def _read(path: Path, size: int) -> tuple[GalleryClip, Preview] | AnimdiffError:
    try:
        recipe, problem = _recipe(path)
        decoded = read_clip(path)
        preview = make_preview(decoded.frames, size)
        modified = int(path.stat().st_mtime)
    except AnimdiffError as error:
        return error
    except OSError as error:  # a folder of frames without permission
        known = unexpected_failure(error)
        if known is None:
            raise
        return known
    num_frames, height, width, _ = decoded.frames.shape
    clip = GalleryClip(
        path=str(path),
        format="frames" if path.is_dir() else BY_SUFFIX.get(path.suffix.lower(), path.suffix.lower().lstrip(".")),
        width=width,
        height=height,
        num_frames=num_frames,
        fps=decoded.fps or _fps(recipe),
        modified=modified,
        recipe=recipe,
        problem=problem,
    )
    return clip, preview


def _recipe(path: Path) -> tuple[dict[str, Any] | None, str | None]:
    """Return the recipe of a clip, or None and the reason."""
    try:
        recipe = read_recipe(path)
    except NoRecipe:
        return None, "no recipe"
    except AnimdiffError as error:  # a later version, or a file that animdiff did not write
        return None, f"no recipe: {error}"
    if len(json.dumps(recipe, indent=1)) > MAX_RECIPE_BYTES:
        return None, f"no recipe: larger than {MAX_RECIPE_BYTES >> 10} KiB"
    return recipe, None


def _fps(recipe: dict[str, Any] | None) -> float:
    """Return the frame rate in an untrusted recipe, for a folder of frames, which has none."""
    config = recipe.get("config") if recipe else None
    fps = config.get("fps") if isinstance(config, dict) else None
    if not isinstance(fps, int | float) or isinstance(fps, bool) or not 0 < fps <= MAX_FPS:
        return DEFAULT_FPS
    return float(fps)


def _address(clip: Path, page: Path) -> str:
    """Return the address of a clip relative to the page. `./` keeps a name like `javascript:x` from being a scheme."""
    relative = os.path.relpath(clip.absolute(), page.parent.absolute())
    return f"./{quote(os.fsencode(relative))}"


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (" …" if len(names) > 3 else "")
