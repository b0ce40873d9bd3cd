"""Collect all results of renders, measurements and trainings in one report: docs/pocket-study.json."""

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tools.pocket.report import share, write_json
from tools.pocket.study import autoencoder_ceiling
from tools.pocket.study.conditions import STYLES, Condition, Measure, all_conditions
from tools.pocket.study.figures import is_right, mean
from tools.pocket.study.jobs import Ledger
from tools.pocket.study.readings import Values, values_of
from tools.pocket.study.rendering import index_file, read_index
from tools.pocket.study.settings import FOOTAGE_SEED, RENDER_SEED, SCALES, TRAINING_SEED
from tools.pocket.world import VERSION

REPORT = "measures.json"


def collect(work: Path, scale_name: str) -> dict[str, Any]:
    """Write and return the report. Leaves out results that do not exist."""
    conditions = all_conditions(SCALES[scale_name])
    ledger = Ledger(work)
    report = {
        "scale": scale_name,
        "world_version": VERSION,
        "seeds": {"footage": FOOTAGE_SEED, "training": TRAINING_SEED, "prompts and noise": RENDER_SEED},
        "readers": {name: _json_of(work / file) for name, file in READERS.items() if (work / file).is_file()},
        "trainings": dict(_trainings(work, ledger)),
        "conditions": {one.name: _condition(work, one) for one in conditions if index_file(work, one.name).is_file()},
        "through the autoencoder": {style: values for style in STYLES if (values := _ceiling(work, style))},
        "failures": ledger.failures(),
    }
    write_json(work / REPORT, report)
    return report


READERS: Mapping[str, str] = {
    "classifier": "classifier.json",
    "style-reader": "style-reader.json",
    "encoder": "runs/encoder/encoder.json",
}


def _ceiling(work: Path, style: str) -> dict[str, Any]:
    if not (file := autoencoder_ceiling.file_of(work, style)).is_file():
        return {}
    values = _json_of(file)["clips"]
    return {
        "obeys": share(one["obeys"] for one in values).as_json(),
        "style_kept": _mean(one["kept"] for one in values),
    }


def _condition(work: Path, condition: Condition) -> dict[str, Any]:
    index = read_index(work, condition.name)
    found = {measure: values_of(work, condition.name, measure) for measure in condition.measures}
    figures: dict[str, Any] = {}
    for measure, values in found.items():
        if values is not None:
            figures |= _figures(measure, values, condition)
    return {
        "style": condition.style,
        "clips": len(index["clips"]),
        "settings": _without_places(index["config"]),
        "weights": index["weights"],
        "device": index["device"],
        **figures,
    }


def _without_places(config: Mapping[str, Any]) -> dict[str, Any]:
    """Replace paths by file names."""
    return {key: _named(value) for key, value in config.items()}


def _named(value: Any) -> Any:
    if isinstance(value, str):
        return "/".join(Path(value).parts[-1:]) if "/" in value else value
    return [_named(one) for one in value] if isinstance(value, list) else value


def _figures(measure: Measure, values: Sequence[Values], condition: Condition) -> dict[str, Any]:
    """Summarize one measure of a condition, by the keys of the report."""
    if measure == "law":
        return {"obeys": share(bool(one["obeys"]) for one in values).as_json()}
    if measure == "constancy":
        return {"constant": share(bool(one["constant"]) for one in values).as_json()}
    if measure == "camera":
        return {"camera": _camera(values, condition.shots)}
    names = {
        "style": {"kept": "style_kept"},
        "asked": {"object": "object_as_asked", "colour": "colour_as_asked", "place": "place_as_asked"},
        "watermark": {"visibility": "watermark"},
        "clip": {"text": "text", "domain": "domain", "smooth": "smooth"},
    }[measure]
    return {name: _mean(one[key] for one in values) for key, name in names.items()}


def _mean(values: Iterable[float | bool | None]) -> dict[str, Any] | None:
    known = mean(float(value) for value in values if value is not None)
    return known.as_json() if known else None


def _camera(values: Sequence[Values], shots: Sequence[str]) -> dict[str, Any]:
    """Return medians over the tracked clips, and the share of right ones; untracked clips count as wrong."""
    followed = [one for one in values if one["pan"] is not None]
    medians = {
        component: statistics.median(float(one[component] or 0.0) for one in followed) if followed else None
        for component in ("pan", "tilt", "roll", "zoom")
    }
    right = {"right": share(is_right(one, shots) for one in values).as_json()} if shots else {}
    return {**right, "followed": len(followed), "median": medians, "shots": list(shots)}


def _trainings(work: Path, ledger: Ledger) -> Iterable[tuple[str, dict[str, Any]]]:
    """Yield command, duration and report of each training."""
    for name, record in sorted(ledger.records().items(), key=lambda one: one[1]["made"]):
        if not record["words"] or record["words"][0] not in ("animdiff_cli", "tools.pocket"):
            continue
        file = work / "runs" / name / "report.json"
        report = _json_of(file) if file.is_file() else {}
        words = [str(word).replace(str(work), "WORK") for word in record["words"]]
        yield name, {"command": " ".join(words), "seconds": record["seconds"], **_summary(report)}


def _summary(report: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of a training report that the page shows; empty without a report."""
    if not report:
        return {}
    loss = report["loss"] or {}
    return {"steps": report["steps"], "from": report["clips"]["count"], "loss": loss.get("smoothed")}


def _json_of(file: Path) -> Any:
    return json.loads(file.read_text(encoding="utf-8"))
