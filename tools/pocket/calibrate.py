"""Calibrate the measures on clips with known answers."""

from collections.abc import Callable, Mapping

import numpy as np

from tools.pocket.classify import Classifier, is_constant
from tools.pocket.degrade import degrade
from tools.pocket.law_checks import obeys
from tools.pocket.report import Share, share
from tools.pocket.world import OBJECTS, Scene, random_scene, render

Trial = Callable[[Scene, np.ndarray, np.random.Generator], np.ndarray]


def sharp(scene: Scene, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return the clip as rendered."""
    return frames


def degraded(scene: Scene, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Blur the clip and add noise, as an autoencoder would."""
    return degrade(frames, rng)


def shuffled(scene: Scene, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Shuffle the frames."""
    return frames[rng.permutation(len(frames))]


def independent(scene: Scene, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Take every frame from another clip of the same object, colour and place."""
    known = {"kind": scene.kind, "colour": scene.colour, "place": scene.place}
    others = (random_scene(rng, **known) for _ in frames)
    return np.concatenate([render(other, num_frames=1, first_frame=int(rng.integers(16))) for other in others])


def frozen(scene: Scene, frames: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Repeat one frame."""
    return np.repeat(frames[[rng.integers(len(frames))]], len(frames), axis=0)


TRIALS: Mapping[str, Trial] = {
    "true": sharp,
    "true, degraded": degraded,
    "shuffled": shuffled,
    "independent": independent,
    "frozen": frozen,
}


def law_trials(clips: int, rng: np.random.Generator) -> dict[str, dict[str, Share]]:
    """Count, by kind and trial, how many of `clips` clips obey their law: those of the first two trials should."""
    return {kind: _law_trials_of(kind, clips, rng) for kind in OBJECTS}


def constancy_trials(clips: int, classifier: Classifier, rng: np.random.Generator) -> dict[str, Share]:
    """Count how many clips are classified as constant: true ones should be, those whose scene changes half-way not."""
    outcomes: dict[str, list[bool]] = {"true": [], "true, degraded": [], "object changes": [], "colour changes": []}
    for number in range(clips):
        scene = random_scene(rng, kind=OBJECTS[number % len(OBJECTS)])
        frames = render(scene)
        outcomes["true"].append(is_constant(classifier, frames))
        outcomes["true, degraded"].append(is_constant(classifier, degrade(frames, rng)))
        for what, other in _turncoats(scene, rng).items():
            outcomes[what].append(is_constant(classifier, np.concatenate([frames[:8], render(other)[8:]])))
    return {trial: share(found) for trial, found in outcomes.items()}


def _law_trials_of(kind: str, clips: int, rng: np.random.Generator) -> dict[str, Share]:
    outcomes: dict[str, list[bool]] = {trial: [] for trial in TRIALS}
    for _ in range(clips):
        scene = random_scene(rng, kind=kind)
        frames = render(scene)
        for name, trial in TRIALS.items():
            outcomes[name].append(obeys(trial(scene, frames, rng), kind, scene.colour))
    return {trial: share(found) for trial, found in outcomes.items()}


def _turncoats(scene: Scene, rng: np.random.Generator) -> dict[str, Scene]:
    return {
        "object changes": _other(scene, rng, colour=scene.colour),
        "colour changes": _other(scene, rng, kind=scene.kind),
    }


def _other(scene: Scene, rng: np.random.Generator, *, kind: str | None = None, colour: str | None = None) -> Scene:
    """Draw scenes of the same place until one differs in kind or colour."""
    while True:
        other = random_scene(rng, kind=kind, colour=colour, place=scene.place)
        if (other.kind, other.colour) != (scene.kind, scene.colour):
            return other
