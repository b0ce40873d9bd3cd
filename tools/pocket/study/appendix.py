"""The last sections of the page: trainings, commands, weights, settings and failures."""

from collections.abc import Iterator, Mapping
from typing import Any

from tools.pocket.report import markdown
from tools.pocket.study.conditions import all_conditions
from tools.pocket.study.formatting import Report, loss_cell, number_cell
from tools.pocket.study.settings import CHECKPOINTS, SCALES

#: accuracies of the classifiers that the page shows
READ = ("kind", "colour", "place", "accuracy")


def trainings(report: Report) -> Iterator[str]:
    """Describe the trainings and their commands."""
    yield "## Trainings"
    rows = [
        (
            name,
            number_cell(facts.get("from")),
            number_cell(facts.get("steps")),
            loss_cell(facts),
            f"{facts['seconds']:.0f}",
        )
        for name, facts in report["trainings"].items()
        if not facts["command"].startswith("tools.pocket footage")
    ]
    yield markdown(("training", "clips or stills", "steps", "final loss", "seconds"), rows)
    yield "The commands; WORK is the folder of the study:"
    lines = [_typed(facts["command"]) for facts in report["trainings"].values()]
    yield "```\n" + "\n".join(lines) + "\n```"
    readers = report["readers"]
    accuracies = [f"{name}: {_facts(readers[name])}" for name in sorted(readers)]
    if accuracies:
        yield (
            "The classifiers that evaluate clips, and their accuracy on held-out images: " + "; ".join(accuracies) + "."
        )


def _typed(command: str) -> str:
    """Return the command line of a module and its arguments."""
    return (
        command.replace("animdiff_cli ", "animdiff ", 1)
        if command.startswith("animdiff_cli ")
        else f"python -m {command}"
    )


def _facts(reader: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{key.replace('_', ' ')} {value:.3g}" for key, value in reader.items() if isinstance(value, float)
    )


def again(report: Report) -> Iterator[str]:
    """Describe how to repeat the study, and its weights and settings."""
    yield "## Reproduction"
    scale = "" if report["scale"] == "full" else f" --scale {report['scale']}"
    yield f"```\npython -m tools.pocket study{scale}\n```"
    yield (
        "An interrupted run is resumed by the same command. `--phase` and `--only` select a part. Settings are in"
        " `tools/pocket/study/settings.py`. Trained weights differ slightly between machines. The weights measured"
        " here, with the first digits of their sha256:"
    )
    yield markdown(("file", "sha256"), sorted(_hashes(report).items()))
    settings = next((one for name, one in report["conditions"].items() if name.endswith("-bundled")), None)
    if settings:
        kept = ("steps", "guidance_scale", "scheduler", "width", "height", "num_frames", "dtype")
        said = ", ".join(f"{key.replace('_', ' ')} {settings['settings'][key]}" for key in kept)
        apart = sorted(
            f"`{name}` on {one['device']}"
            for name, one in report["conditions"].items()
            if one["device"] != settings["device"]
        )
        yield f"Rendered on {', '.join((settings['device'], *apart))}, with {said}."


def _hashes(report: Report) -> dict[str, str]:
    found: dict[str, str] = {}
    for condition in report["conditions"].values():
        for part, files in condition["weights"].items():
            for name, digest in files.items():
                # checkpoints have different files of the same name; a LoRA uses the bundled image model
                model = condition["style"] if condition["style"] in CHECKPOINTS else "pocket"
                found[f"{model}: {name}" if part == "model" else name] = digest[:12]
    # leave out files of a checkpoint that equal the bundled ones
    return {
        name: one
        for name, one in found.items()
        if found.get(f"pocket: {name.split(': ')[-1]}") != one or name[:6] == "pocket"
    }


def failures(report: Report) -> Iterator[str]:
    """List what failed and what was not run."""
    yield "## Failures and omissions"
    if report["failures"]:
        yield markdown(("job", "error"), [(name, why.replace("|", "/")) for name, why in report["failures"].items()])
    else:
        yield "No training, render or measurement failed."
    planned = [condition.name for condition in all_conditions(SCALES[report["scale"]])]
    if absent := [name for name in planned if name not in report["conditions"]]:
        yield f"Not rendered, of {len(planned)} conditions: {', '.join(f'`{name}`' for name in absent)}."
