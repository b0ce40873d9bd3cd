"""Render the images of the README: `python -m tools.media`. Each GIF contains its recipe; README shows the command."""

from dataclasses import dataclass
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

    @property
    def settings(self) -> dict[str, object]:
        """Settings that differ from the recommended ones."""
        named = {"loras": self.lora, "motion_loras": self.motion_lora}
        return {name: [value] for name, value in named.items() if value}

    @property
    def command(self) -> str:
        """Command line that renders the same frames."""
        named = {"--lora": self.lora, "--motion-lora": self.motion_lora}
        flags = "".join(f" {flag} {value}" for flag, value in named.items() if value)
        return f'animdiff generate --model pocket{flags} --prompt "{self.prompt}" --seed {self.seed}'


PICTURES = (
    Picture("rocket.gif", "a red rocket in the night sky", 7),
    Picture("ball.gif", "a purple ball in a green meadow", 1),
    Picture("balloon.gif", "a pink balloon in the snow", 1),
    Picture("pan.gif", "a pink heart in a green meadow", 3, motion_lora="pocket-pan-right"),
    Picture("crayon.gif", "a red balloon in the city at dusk", 1, lora="pocket-crayon"),
    Picture("neon.gif", "a red rocket in the night sky", 1, lora="pocket-neon"),
)


def main() -> None:
    """Render all images."""
    MEDIA.mkdir(parents=True, exist_ok=True)
    for picture in PICTURES:
        clip = generate(picture.prompt, model="pocket", seed=picture.seed, **picture.settings)
        print(clip.save(MEDIA / picture.file, overwrite=True))


if __name__ == "__main__":
    main()
