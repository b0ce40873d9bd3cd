"""Options of `animdiff generate` for pictures and videos that a clip is rendered from."""

from typing import Annotated

from animdiff_cli.cli.options import PICTURES, option
from animdiff_cli.core.choices import ImageMethod

ImageOpt = Annotated[
    list[str] | None,
    option(
        "--image",
        help="Picture that the clip begins with, or has at a position: fox.png@50%. Repeatable; without positions,"
        " pictures are spread over the clip.",
        panel=PICTURES,
        metavar="<picture[@where]>",
    ),
]
ImageMethodOpt = Annotated[
    ImageMethod | None,
    option(
        "--image-method",
        help="How pictures become frames: by a SparseCtrl, by PIA, or blended with noise, which needs no weights."
        " Default: auto, the first of them that is on this machine.",
        panel=PICTURES,
    ),
]
VideoOpt = Annotated[
    str | None,
    option(
        "--video",
        help="Video to render anew, or a folder of frames. It gives size, rate and number of frames.",
        panel=PICTURES,
        metavar="<video>",
    ),
]
VideoRangeOpt = Annotated[
    str | None,
    option("--video-range", help="Part of the video, as in 2s-6s or 10-40.", panel=PICTURES, metavar="<from-to>"),
]
VideoFpsOpt = Annotated[
    float | None,
    option("--video-fps", help="Frames to take per second of the video. Default: those of the clip.", panel=PICTURES),
]
MaskOpt = Annotated[
    str | None,
    option(
        "--mask",
        help="Where the video is repainted: white in a picture, a video or a folder of frames. Black keeps its pixels.",
        panel=PICTURES,
        metavar="<mask>",
    ),
]
MaskFeatherOpt = Annotated[
    float | None, option("--mask-feather", help="Blur the edges of the mask over so many pixels.", panel=PICTURES)
]
DenoiseOpt = Annotated[
    str | None,
    option(
        "--denoise",
        help="How much of the video, or between images, is rendered anew, from 0 to 1: a number, or a curve over frames"
        " such as 0:0.3,-1:0.8. Default: 0.8.",
        panel=PICTURES,
        metavar="<number or curve>",
    ),
]
InvertOpt = Annotated[
    bool | None,
    option(
        "--invert/--no-invert", help="Begin from the DDIM inversion of the video, not random noise.", panel=PICTURES
    ),
]
AudioOpt = Annotated[
    bool | None,
    option("--audio/--no-audio", help="Keep the audio of the video in MP4 and WebM. Default: keep.", panel=PICTURES),
]
