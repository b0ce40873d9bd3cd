"""Render the images of the README: `python -m tools.media`. Each GIF contains its recipe; README shows the command."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from animdiff_cli import generate

MEDIA = Path(__file__).resolve().parents[1] / "docs" / "media"


@dataclass(frozen=True, slots=True)
class Picture:
    """A GIF of the README, rendered with the bundled pocket model."""

    file: str
    prompt: str
    seed: int
    lora: str | None = None
    motion_lora: str | None = None
    frames: int | None = None
    loop: bool = False
    #: texts by position, put after the prompt
    prompt_at: Mapping[str, str] = field(default_factory=dict)

    @property
    def settings(self) -> dict[str, object]:
        """Settings that differ from the recommended ones."""
        lists = {"loras": self.lora, "motion_loras": self.motion_lora}
        single = {"num_frames": self.frames, "loop": self.loop}
        named = {name: [value] for name, value in lists.items() if value}
        return named | {name: value for name, value in single.items() if value}

    @property
    def text(self) -> str | dict[str, str]:
        """The prompt of a clip, or its prompts by position."""
        return {where: f"{self.prompt}, {text}" for where, text in self.prompt_at.items()} or self.prompt

    @property
    def command(self) -> str:
        """Command line that renders the same frames."""
        named = {"--lora": self.lora, "--motion-lora": self.motion_lora, "--frames": self.frames}
        flags = "".join(f" {flag} {value}" for flag, value in named.items() if value)
        flags += " --loop" if self.loop else ""
        travel = "".join(f' --prompt-at "{where}={text}"' for where, text in self.prompt_at.items())
        return f'animdiff generate --model pocket{flags} --prompt "{self.prompt}"{travel} --seed {self.seed}'


PICTURES = (
    Picture("rocket.gif", "a red rocket in the night sky", 7),
    Picture("ball.gif", "a purple ball in a green meadow", 1),
    Picture("balloon.gif", "a pink balloon in the snow", 1),
    Picture("pan.gif", "a pink heart in a green meadow", 3, motion_lora="pocket-pan-right"),
    Picture("crayon.gif", "a red balloon in the city at dusk", 1, lora="pocket-crayon"),
    Picture("neon.gif", "a red rocket in the night sky", 1, lora="pocket-neon"),
    Picture("long.gif", "a turquoise ball on the beach", 3000, frames=64),
    Picture("loop.gif", "a purple flower in a green meadow", 2, loop=True),
    Picture(
        "travel.gif",
        "a red balloon",
        3,
        frames=40,
        prompt_at={"0": "in a green meadow", "12": "in a green meadow", "-12": "in the night sky"},
    ),
)


def main() -> None:
    """Render all images."""
    MEDIA.mkdir(parents=True, exist_ok=True)
    for picture in PICTURES:
        clip = generate(picture.text, model="pocket", seed=picture.seed, **picture.settings)
        print(clip.save(MEDIA / picture.file, overwrite=True))


if __name__ == "__main__":
    main()
