"""`python -m tools.pocket steering --out FILE.json`: measure the bundled ControlNet, SparseCtrl and IP-Adapter.

Each clip is rendered with and without the network, from the same prompt and noise. Clips are kept in WORK.
"""

import argparse
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from animdiff_cli import generate
from animdiff_cli.outputs import write_clip
from tools.pocket.captions import caption
from tools.pocket.classify import Classifier, read, trained_classifier
from tools.pocket.command import tell
from tools.pocket.law_checks import obeys
from tools.pocket.report import markdown, share, write_json
from tools.pocket.track import track
from tools.pocket.world import OBJECTS, Scene, random_scene, render

FPS, FRAMES, SIDE = 8, 16, 128
CLIPS = {"control": 12, "sparse": 24, "picture": 24}
#: what a clip is rendered with, the last word of a reading
SIDES = ("with", "without", "blend")
#: objects that can be moved along any path: their law leaves them where they are, but for a small sway
MOVABLE = ("star", "heart", "bell", "ball", "fish", "boat")
#: distance in pixels for a frame in which the object is not found: half the width
NOT_FOUND = SIDE / 2


@dataclass(frozen=True, slots=True)
class Rendering:
    """How clips are rendered."""

    work: Path
    steps: int
    seed: int
    networks: Mapping[str, str]  # alias or path of each network

    def __call__(self, prompt: str, seed: int, **settings: object) -> np.ndarray:
        """Render a clip: uint8 [F, H, W, 3]."""
        return generate(prompt, model="pocket", steps=self.steps, num_frames=FRAMES, seed=seed, **settings).frames

    def keep(self, frames: np.ndarray, name: str) -> Path:
        """Write a clip to look at; return its path."""
        self.work.mkdir(parents=True, exist_ok=True)
        return write_clip(frames, FPS, self.work / f"{name}.gif", "gif", {}, overwrite=True)


def main(argv: Sequence[str]) -> int:
    """Render and measure, write the JSON report and print its tables; return the exit status."""
    arguments = _parser().parse_args(argv)
    classifier, accuracy = trained_classifier(arguments.classifier, tell)
    networks = {"control": arguments.control, "sparse": arguments.sparse, "picture": arguments.picture}
    rendering = Rendering(arguments.work, arguments.steps, arguments.seed, networks)
    report: dict[str, Any] = {"classifier": asdict(accuracy), "steps": arguments.steps, "seed": arguments.seed}
    for what in arguments.what:
        clips = [
            MEASURES[what](rendering, classifier, number, scene, words)
            for number, (scene, words) in enumerate(asked(what, arguments.clips or CLIPS[what], arguments.seed))
        ]
        report[what] = {"network": networks[what], "clips": clips, "all": summary(clips)}
        write_json(arguments.out, report, indent=2)
        print(table(report[what]["all"], what), flush=True)
    return 0


def asked(what: str, count: int, seed: int) -> list[tuple[Scene, str]]:
    """Draw scenes and their captions, alternating between the objects."""
    kinds = MOVABLE if what == "control" else OBJECTS
    found = []
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        scene = random_scene(rng, kind=kinds[number % len(kinds)])
        found.append((scene, caption(scene, rng)))
    return found


def along_path(scene: Scene, rng: np.random.Generator) -> np.ndarray:
    """Draw the object on a random arc through the frame, one moment of its law: uint8 [F, H, W, 3]."""
    begin, end, bend = rng.uniform(0.3, 0.7, (3, 2))
    begin[0], end[0] = rng.permutation([0.25, 0.75])
    places = [(1 - t) ** 2 * begin + 2 * t * (1 - t) * bend + t**2 * end for t in np.linspace(0, 1, FRAMES)]
    moved = [replace(scene, x=float(x), y=float(y)) for x, y in places]
    return np.concatenate([render(one, num_frames=1, first_frame=7) for one in moved])


def measure_control(
    rendering: Rendering, classifier: Classifier, number: int, scene: Scene, words: str
) -> dict[str, Any]:
    """Measure how far the object is from a drawn path, in pixels, with its outlines as control and without."""
    drawn = along_path(scene, np.random.default_rng([rendering.seed, number, 1]))
    source = rendering.keep(drawn, f"control-{number}-drawn")
    seed = rendering.seed + number
    control = {"ref": rendering.networks["control"], "source": str(source), "preprocess": "canny"}
    clips = {"with": rendering(words, seed, controls=[control]), "without": rendering(words, seed)}
    result: dict[str, Any] = {"prompt": words, "seed": seed}
    for name, frames in clips.items():
        rendering.keep(frames, f"control-{number}-{name}")
        result[f"distance_px_{name}"] = float(np.mean(distances(frames, drawn, scene.colour)))
        seen = read(classifier, frames[8:9])[0]
        result[f"as_prompted_{name}"] = (seen.kind, seen.colour, seen.place) == (scene.kind, scene.colour, scene.place)
    tell(f"control {number}: {result}")
    return result


def measure_sparse(
    rendering: Rendering, classifier: Classifier, number: int, scene: Scene, words: str
) -> dict[str, Any]:
    """Measure how much frame 0 is like a picture that is given for it, and whether the clip moves by its law.

    `blend` is the method of `--image` that needs no network.
    """
    drawn = render(scene, num_frames=1)
    picture = _picture(rendering, drawn[0], f"sparse-{number}-picture")
    seed = rendering.seed + number
    control = {"ref": rendering.networks["sparse"], "source": str(picture)}
    clips = {
        "with": rendering(words, seed, controls=[control]),
        "without": rendering(words, seed),
        "blend": rendering(words, seed, images=[str(picture)], image_method="blend"),
    }
    result: dict[str, Any] = {"prompt": words, "seed": seed}
    for name, frames in clips.items():
        rendering.keep(frames, f"sparse-{number}-{name}")
        seen = read(classifier, frames[:1])[0]
        result |= {
            f"psnr_{name}": psnr(frames[0], drawn[0]),
            f"distance_px_{name}": float(distances(frames[:1], drawn, scene.colour)[0]),
            f"jump_px_{name}": float(distances(frames[1:2], frames[:1], scene.colour)[0]),
            f"object_{name}": seen.kind == scene.kind,
            f"colour_{name}": seen.colour == scene.colour,
            f"place_{name}": seen.place == scene.place,
            f"obeys_{name}": obeys(frames, scene.kind, scene.colour),
        }
    tell(f"sparse {number}: {result}")
    return result


def measure_picture(
    rendering: Rendering, classifier: Classifier, number: int, scene: Scene, words: str
) -> dict[str, Any]:
    """Measure whether a clip shows the object and colour of a picture that the text does not name."""
    picture = _picture(rendering, render(scene, num_frames=1, first_frame=7)[0], f"picture-{number}-picture")
    seed = rendering.seed + number
    named = f"a drawing {scene.place}"
    prompt = {"ref": rendering.networks["picture"], "source": str(picture)}
    clips = {"with": rendering(named, seed, image_prompts=[prompt]), "without": rendering(named, seed)}
    result: dict[str, Any] = {"prompt": named, "picture": words, "seed": seed}
    for name, frames in clips.items():
        rendering.keep(frames, f"picture-{number}-{name}")
        seen = read(classifier, frames)
        kinds, colours = [one.kind for one in seen], [one.colour for one in seen]
        result[f"object_{name}"] = max(set(kinds), key=kinds.count) == scene.kind
        result[f"colour_{name}"] = max(set(colours), key=colours.count) == scene.colour
    tell(f"picture {number}: {result}")
    return result


MEASURES: Mapping[str, Callable[[Rendering, Classifier, int, Scene, str], dict[str, Any]]] = {
    "control": measure_control,
    "sparse": measure_sparse,
    "picture": measure_picture,
}


def distances(frames: np.ndarray, drawn: np.ndarray, colour: str) -> np.ndarray:
    """Return how far the object is from where it was drawn, in pixels of each frame: [F]."""
    have, want = track(frames, colour), track(drawn, colour)
    apart = np.hypot(have.x - want.x, have.y - want.y) * SIDE
    return np.where(have.visible, apart, NOT_FOUND)


def psnr(image: np.ndarray, wanted: np.ndarray) -> float:
    """Return the peak signal-to-noise ratio of uint8 images in dB."""
    error = float(np.mean((image.astype(np.float64) - wanted) ** 2))
    return 10 * math.log10(255**2 / max(error, 1e-9))


def summary(clips: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return shares of what holds or not, and means of numbers."""
    readings = [key for key in clips[0] if key.rpartition("_")[2] in SIDES]
    return {
        key: share(clip[key] for clip in clips).as_json()
        if isinstance(clips[0][key], bool)
        else float(np.mean([clip[key] for clip in clips]))
        for key in readings
    }


def table(figures: Mapping[str, Any], what: str) -> str:
    """Format every measure with and without the network."""
    names = [key.removesuffix("_with") for key in figures if key.endswith("_with")]
    sides = [side for side in SIDES if f"{names[0]}_{side}" in figures]
    rows = [(name, *(_figure(figures[f"{name}_{side}"]) for side in sides)) for name in names]
    return markdown((what, *sides), rows)


def _figure(value: Any) -> str:
    return f"{value['hits']}/{value['of']}" if isinstance(value, Mapping) else f"{value:.1f}"


def _picture(rendering: Rendering, image: np.ndarray, name: str) -> Path:
    rendering.work.mkdir(parents=True, exist_ok=True)
    path = rendering.work / f"{name}.png"
    Image.fromarray(image).save(path)
    return path


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tools.pocket steering", description=__doc__)
    parser.add_argument("what", nargs="*", default=list(MEASURES), metavar="WHAT", help=f"of {', '.join(MEASURES)}")
    parser.add_argument("--out", type=Path, required=True, help="where the JSON report is written")
    parser.add_argument("--control", default="pocket-outline", help="alias or path (default: %(default)s)")
    parser.add_argument("--sparse", default="pocket-sparse", help="alias or path (default: %(default)s)")
    parser.add_argument("--picture", default="pocket-image", help="alias or path (default: %(default)s)")
    parser.add_argument("--clips", type=int, help="of each network (default: 12, 24 and 24)")
    parser.add_argument("--steps", type=int, default=20, help="denoising steps (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=4000, help="of scenes and noise")
    parser.add_argument("--work", type=Path, default=Path(".pocket/steering"), help="where clips to look at are kept")
    parser.add_argument("--classifier", type=Path, default=Path(".pocket"), help="keeps the classifier")
    return parser
