"""Write docs/pocket-study.md from the report. Every number comes from it, and no sentence assumes a result."""

import textwrap
from collections.abc import Iterator, Mapping

from tools.pocket.report import Share, markdown
from tools.pocket.study import appendix
from tools.pocket.study.conditions import MODULES, PLUGGED, STYLES, Module
from tools.pocket.study.contact_sheets import CAPTIONS
from tools.pocket.study.formatting import (
    ABSENT,
    Report,
    condition_of,
    counts,
    describe_seeds,
    frames_cell,
    listed,
    mean_cell,
    share_cell,
)
from tools.pocket.study.settings import (
    ADAPTER_SCALES,
    CAMERA_RANK,
    CHECKPOINTS,
    COMPOSED,
    FEW_STILLS,
    LORAS,
    MANY_STILLS,
    RANKS,
    SHOT_STILLS,
    SHOTS,
    VARIED_SHOT,
)

MODULES_IN_WORDS: Mapping[Module, str] = {
    "bundled": "bundled module",
    "linear": "module trained here",
    "convolution": "temporal convolution",
    "none": "no module",
}

PERSONALISED = (*CHECKPOINTS, *LORAS)


def page(report: Report) -> str:
    """Return the page as Markdown."""
    parts = (
        _opening,
        _plug,
        _adapter,
        _lora,
        _schedules,
        _table1,
        appendix.trainings,
        appendix.again,
        appendix.failures,
    )
    return "\n\n".join(_wrapped(text) for part in parts for text in part(report)) + "\n"


def _wrapped(text: str) -> str:
    """Wrap prose at 120 characters; leave headings, tables, images and code unchanged."""
    if text.startswith(("#", "|", "![", "```")):
        return text
    return textwrap.fill(text, 120, break_long_words=False, break_on_hyphens=False)


def _opening(report: Report) -> Iterator[str]:
    yield "# The pocket study"
    if report["scale"] != "full":
        yield (
            f"**A test run at scale `{report['scale']}`: it shows that every step runs; its numbers are meaningless.**"
            " Run the command below without `--scale` for real numbers."
        )
    yield (
        "This study tests the claims of the AnimateDiff paper on the pocket model, which ships with animdiff. The model"
        " was trained on drawn scenes in which every object follows a law of motion, so that code can decide whether a"
        " clip moves correctly. Everything compared here was trained and rendered with the commands listed below."
        " `python -m tools.pocket study` writes this page from [pocket-study.json](pocket-study.json)."
    )
    yield (
        "Shares are given with their count and 95 % interval (Wilson), means with theirs (1.96 standard errors over"
        f" clips). {ABSENT} marks a value that was not measured. Every condition uses the same prompts and noise"
        f" ({describe_seeds(report)}). Conditions with few clips have wide intervals: where two intervals overlap, this"
        " page does not show a difference."
    )


def _plug(report: Report) -> Iterator[str]:
    yield "## 1. One motion module with unseen image models"
    yield (
        "Question: if a motion module trained only on the base model is plugged into a personalised image model, do its"
        f" clips obey the laws of motion and keep the style of the model? {listed(CHECKPOINTS)} are full checkpoints"
        f" with their own decoders, {listed(LORAS)} are LoRAs; all were trained on images of their style. The bundled"
        " module is compared with no module. A module trained here from scratch, for a short time only, is compared"
        " with the paper's ablation: a module trained for as long on the same clips, in which each temporal attention"
        " is replaced by a convolution over frames with as many weights. *Obey* counts clips whose object obeys its law"
        " of motion. *Style* is the share of frames that a style classifier assigns to the style of the model, averaged"
        " over clips. *Through the autoencoder* are true clips, drawn in the style, then encoded and decoded by the"
        " autoencoder of the model: an upper limit for every model that uses it. The encoder was trained on the base"
        f" style only, the bundled decoder also on {listed(LORAS)}."
    )
    rows = [
        (
            style,
            _both(report["through the autoencoder"].get(style, {})),
            frames_cell(condition_of(report, f"stills-{style}"), "style_kept"),
            *_plugged(report, style),
        )
        for style in STYLES
    ]
    head = (f"{MODULES_IN_WORDS[one]}: obey; style" for one in MODULES)
    yield markdown(("image model", "through the autoencoder: obey; style", "its stills: style", *head), rows)
    pooled = {one: _pooled(report, one) for one in MODULES}
    found = ", ".join(f"{MODULES_IN_WORDS[one]} {counts(share)}" for one, share in pooled.items() if share.of)
    yield f"Clips of all {len(PERSONALISED)} personalised models that obey their law: {found}."
    constant = [
        (MODULES_IN_WORDS[one], share_cell(condition_of(report, f"plug-base-{one}"), "constant")) for one in MODULES
    ]
    yield from _sheet(report, "plug.gif")
    yield "Clips of the base model in which every frame is classified as the same object and colour:"
    yield markdown(("base model with", "constant"), constant)


def _plugged(report: Report, style: str) -> Iterator[str]:
    for module in MODULES:
        yield _both(condition_of(report, f"plug-{style}-{module}"))


def _both(figures: Report) -> str:
    return f"{share_cell(figures, 'obeys')}; {frames_cell(figures, 'style_kept')}"


def _pooled(report: Report, module: Module) -> Share:
    found = [condition_of(report, f"plug-{style}-{module}").get("obeys") for style in PERSONALISED]
    known = [one for one in found if one]
    return Share(sum(one["hits"] for one in known), sum(one["of"] for one in known))


def _adapter(report: Report) -> Iterator[str]:
    yield "## 2. The domain adapter"
    yield (
        "Question: does an adapter absorb the look of training clips, here a watermark in the corner of every frame, so"
        " that it can be removed? The adapter was trained on the marked clips. Then the bundled module was trained"
        " further on the same clips with the adapter attached, and another copy without an adapter. *Mark* is 1 where"
        " the watermark is as visible as in the training clips, and 0 where it is invisible. *As prompted* is the share"
        " of frames in which a classifier finds the object, colour and place of the prompt."
    )
    rows = [
        (f"with adapter, rendered at scale {scale:g}", *_marked(report, f"adapter-{round(100 * scale):03}"))
        for scale in ADAPTER_SCALES
    ]
    rows.append(("trained without adapter", *_marked(report, "adapter-never")))
    rows.append(("bundled module, trained without marks", *_marked(report, "plug-base-bundled")))
    yield markdown(("module", "mark", "object as prompted", "colour", "place", "obey their law"), rows)
    yield from _sheet(report, "adapter.png")
    pair = ("adapter-100", "adapter-000", "adapter-never")
    seen = [condition_of(report, name).get("watermark") for name in pair]
    if all(seen):
        on, off, never = (one["mean"] for one in seen if one)
        yield (
            f"Mark: {on:.2f} with the adapter at scale 1, {off:.2f} at scale 0, {never:.2f} for the module"
            " trained without an adapter."
        )


def _marked(report: Report, name: str) -> tuple[str, ...]:
    condition = condition_of(report, name)
    asked = (frames_cell(condition, f"{what}_as_asked") for what in ("object", "colour", "place"))
    return (mean_cell(condition, "watermark"), *asked, share_cell(condition, "obeys"))


def _lora(report: Report) -> Iterator[str]:
    yield "## 3. MotionLoRA"
    yield (
        f"Question: does a MotionLoRA of rank {CAMERA_RANK}, trained on a camera move made from {SHOT_STILLS} stills"
        " (`--shot`), make the camera of the bundled module move in this way? A clip is *right* if the expected"
        " component of the camera motion has the correct sign, is noticeable (0.25 % of the width or of the size, or"
        " 0.15°, per frame), and is larger than every other component in these units. A clip whose camera motion cannot"
        " be measured is not right. Medians are per frame and describe the camera: pan right, tilt up, roll clockwise"
        " and zoom in are positive. Laws of motion are measured relative to the frame, in which a moving camera moves"
        " the object too; in stills with a camera move, the object itself does not move."
    )
    head = ("MotionLoRA", "right", "pan px", "tilt px", "roll °", "zoom %", "obey their law")
    yield markdown(head, [("none", *_camera(report, "plug-base-bundled")), *_shots(report)])
    yield from _sheet(report, "lora.gif")
    named = [(shot, condition_of(report, f"lora-{shot}").get("camera")) for shot in SHOTS]
    known = [(shot, one["right"]) for shot, one in named if one]
    if known:
        good = sum(right["share"] >= 0.9 for _, right in known)
        yield f"At least 90 % of the clips are right for {good} of {len(known)} camera moves."
    yield f"Effect of rank and number of stills for {VARIED_SHOT}:"
    yield markdown(head, _varied(report))
    yield f"{listed(COMPOSED)} combined; a clip is right if both moves are:"
    yield markdown(head, [(" + ".join(COMPOSED), *_camera(report, "lora-composed"))])


def _shots(report: Report) -> list[tuple[str, ...]]:
    return [(shot, *_camera(report, f"lora-{shot}")) for shot in SHOTS]


def _varied(report: Report) -> list[tuple[str, ...]]:
    some = [(rank, SHOT_STILLS, f"lora-rank-{rank}") for rank in RANKS]
    some += [(CAMERA_RANK, stills, f"lora-stills-{stills}") for stills in (FEW_STILLS, MANY_STILLS)]
    some.append((CAMERA_RANK, SHOT_STILLS, f"lora-{VARIED_SHOT}"))
    return [(f"rank {rank}, {stills} stills", *_camera(report, name)) for rank, stills, name in sorted(some)]


def _camera(report: Report, name: str) -> tuple[str, ...]:
    condition = condition_of(report, name)
    camera = condition.get("camera")
    if camera is None:
        return (*[ABSENT] * 5, share_cell(condition, "obeys"))
    medians = camera["median"]
    values = [ABSENT if medians[one] is None else f"{medians[one]:+.2f}" for one in ("pan", "tilt", "roll")]
    zoom = ABSENT if medians["zoom"] is None else f"{100 * (medians['zoom'] - 1):+.2f}"
    return (share_cell(camera, "right"), *values, zoom, share_cell(condition, "obeys"))


def _schedules(report: Report) -> Iterator[str]:
    yield "## 4. The noise schedule of the motion stage"
    yield (
        "Question: is `linear`, the schedule on which the paper trains its motion module, better than `scaled_linear`,"
        " the schedule of the image model? Two modules were trained from scratch on the same clips with the same steps"
        " and seed. Each is rendered with its own schedule. *Smooth* is the mean cosine between frames of a clip, at"
        " most 100."
    )
    rows = [
        (f"`{schedule}`", *_of_schedule(report, f"schedule-{module}"))
        for module, schedule in (("linear", "linear"), ("scaled", "scaled_linear"))
    ]
    yield markdown(("schedule", "obey their law", "constant", "smooth", "text"), rows)


def _of_schedule(report: Report, name: str) -> tuple[str, ...]:
    condition = condition_of(report, name)
    shares = (share_cell(condition, "obeys"), share_cell(condition, "constant"))
    return (*shares, mean_cell(condition, "smooth", cosine=True), mean_cell(condition, "text", cosine=True))


def _table1(report: Report) -> Iterator[str]:
    yield "## 5. The measures of the paper's Table 1"
    yield (
        "[text, domain and smooth](concepts/metrics.md) of `animdiff evaluate`, all 100 · cosine, with a small CLIP"
        " trained on drawn scenes in the base style (`python -m tools.pocket encoder`). *Domain* compares with stills"
        " of the same image model. Frames that do not move have the highest smoothness. Values of different CLIP"
        " encoders cannot be compared."
    )
    rows = [
        (style, MODULES_IN_WORDS[module], *_of_clip(condition_of(report, f"plug-{style}-{module}")))
        for style, module in PLUGGED
    ]
    yield markdown(("image model", "with", "text", "domain", "smooth"), rows)
    yield ("For published models: `animdiff evaluate clips/ --clip clip-vit-l14 --reference stills/`.")


def _of_clip(condition: Report) -> tuple[str, ...]:
    return tuple(mean_cell(condition, name, cosine=True) for name in ("text", "domain", "smooth"))


def _sheet(report: Report, name: str) -> Iterator[str]:
    if name in report["sheets"]:
        yield f"![{CAPTIONS[name]}](media/study/{name})"
        yield CAPTIONS[name]
