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
            f"**A rehearsal at scale `{report['scale']}`: it shows that every step runs, and its figures mean"
            " nothing.**"
            " Run the command below without `--scale` for figures that do."
        )
    yield (
        "The claims of the AnimateDiff paper, tried on the miniature that ships with the program: a drawn world"
        " in which"
        " each object moves by a law of its own, so that code can decide whether a clip moves as it should. All that is"
        " compared here was trained and rendered by the program's own commands, listed below, and this page was written"
        " by `python -m tools.pocket study` from [pocket-study.json](pocket-study.json)."
    )
    yield (
        "Shares stand with their count and 95 % interval (Wilson), means with theirs (1.96 standard errors, over"
        " clips)."
        f" {ABSENT} means that a figure was not taken. The same prompts and noise are used in every condition"
        f" ({describe_seeds(report)}). A condition with few clips has wide intervals: where two intervals overlap, this"
        " page does"
        " not show a difference."
    )


def _plug(report: Report) -> Iterator[str]:
    yield "## 1. One module, plugged into models it never saw"
    yield (
        "Asked: do clips of a personalised image model move by the world's laws, and keep the model's style,"
        " when a motion"
        f" module trained on the base model alone is plugged in? {listed(CHECKPOINTS)} are full checkpoints,"
        f" with a decoder of their own, {listed(LORAS)} LoRAs, all trained on pictures of their style. The module that"
        " ships with the program is compared with none, and, since there was time for short trainings from nothing"
        " only, such a module with the paper's ablation trained as long on the same clips (each temporal attention"
        " replaced by a convolution over frames with as many weights). *Obey* counts"
        " clips whose object moves by its law; *style* is the share of frames that a style reader takes for the model's"
        " style, averaged over clips. *Through the autoencoder* are true clips of the style, drawn, then encoded and"
        " decoded by the model's autoencoder: what that cannot show, no model with it can. The encoder saw the base"
        f" style alone; the bundled decoder saw {listed(LORAS)} too."
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
    yield f"Clips of the {len(PERSONALISED)} personalised models together that obey their law: {found}."
    constant = [
        (MODULES_IN_WORDS[one], share_cell(condition_of(report, f"plug-base-{one}"), "constant")) for one in MODULES
    ]
    yield from _sheet(report, "plug.gif")
    yield "Clips of the base model in which every frame reads as the same object in the same colour:"
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
        "Asked: does an adapter take up what training clips look like, here a mark in the corner of every frame,"
        " so that"
        " it can be left out? The adapter was trained on the marked clips, then a module went on from the"
        " bundled one on"
        " the same clips with the adapter plugged in; another went on without any. *Mark* is 1 where it is as"
        " visible as in the training clips, and 0 where it is not. *As asked* is the share of frames in which a"
        " classifier finds the object, colour and place of the prompt."
    )
    rows = [
        (f"with adapter, rendered at scale {scale:g}", *_marked(report, f"adapter-{round(100 * scale):03}"))
        for scale in ADAPTER_SCALES
    ]
    rows.append(("trained without adapter", *_marked(report, "adapter-never")))
    rows.append(("bundled module, which saw no mark", *_marked(report, "plug-base-bundled")))
    yield markdown(("module", "mark", "object as asked", "colour", "place", "obey their law"), rows)
    yield from _sheet(report, "adapter.png")
    pair = ("adapter-100", "adapter-000", "adapter-never")
    seen = [condition_of(report, name).get("watermark") for name in pair]
    if all(seen):
        on, off, never = (one["mean"] for one in seen if one)
        yield (
            f"Mark: {on:.2f} with the adapter at scale 1, {off:.2f} at scale 0, {never:.2f} for the module"
            " trained without."
        )


def _marked(report: Report, name: str) -> tuple[str, ...]:
    condition = condition_of(report, name)
    asked = (frames_cell(condition, f"{what}_as_asked") for what in ("object", "colour", "place"))
    return (mean_cell(condition, "watermark"), *asked, share_cell(condition, "obeys"))


def _lora(report: Report) -> Iterator[str]:
    yield "## 3. MotionLoRA"
    yield (
        f"Asked: does a MotionLoRA of rank {CAMERA_RANK}, trained on a camera move made from {SHOT_STILLS} stills"
        " (`--shot`), move the camera of the bundled module that way? A clip is *right* if the wanted component has the"
        " right sign, can be noticed (0.25 % of the width or of the size, or 0.15°, per frame), and is larger"
        " than every"
        " other component in those units; a clip whose camera cannot be followed is not right. Medians are per"
        " frame, and"
        " the camera's: pan right, tilt up, roll clockwise and zoom in are positive. Laws are read against the frame,"
        " which a moving camera moves the object through, and in stills that a move is made from no object moves."
    )
    head = ("MotionLoRA", "right", "pan px", "tilt px", "roll °", "zoom %", "obey their law")
    yield markdown(head, [("none", *_camera(report, "plug-base-bundled")), *_shots(report)])
    yield from _sheet(report, "lora.gif")
    named = [(shot, condition_of(report, f"lora-{shot}").get("camera")) for shot in SHOTS]
    known = [(shot, one["right"]) for shot, one in named if one]
    if known:
        good = sum(right["share"] >= 0.9 for _, right in known)
        yield f"At least 90 % of the clips are right for {good} of {len(known)} shots."
    yield f"Rank and number of stills, all {VARIED_SHOT}:"
    yield markdown(head, _varied(report))
    yield f"{listed(COMPOSED)} at once, right where both moves are:"
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
        "Asked: is `linear`, which the paper trains its motion module with, better for it than the image model's own"
        " `scaled_linear`? Two modules from nothing, same clips, steps and seed; each is rendered with the"
        " schedule it was"
        " trained with. *Smooth* is the mean cosine between frames of a clip, 100 at most."
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
        "[text, domain and smooth](concepts/metrics.md) as `animdiff evaluate` takes them, all 100 · cosine,"
        " with a small"
        " CLIP trained on the world in its base style (`python -m tools.pocket encoder`); domain compares with"
        " stills of"
        " the same image model. Frames that do not move are the smoothest of all, and figures of another CLIP cannot be"
        " compared with these."
    )
    rows = [
        (style, MODULES_IN_WORDS[module], *_of_clip(condition_of(report, f"plug-{style}-{module}")))
        for style, module in PLUGGED
    ]
    yield markdown(("image model", "with", "text", "domain", "smooth"), rows)
    yield ("For real models: `animdiff evaluate clips/ --clip clip-vit-l14 --reference stills/`.")


def _of_clip(condition: Report) -> tuple[str, ...]:
    return tuple(mean_cell(condition, name, cosine=True) for name in ("text", "domain", "smooth"))


def _sheet(report: Report, name: str) -> Iterator[str]:
    if name in report["sheets"]:
        yield f"![{CAPTIONS[name]}](media/study/{name})"
        yield CAPTIONS[name]
