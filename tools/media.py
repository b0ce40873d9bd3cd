"""Render the pictures of the README: `python -m tools.media`. Each GIF carries its recipe, and README its command."""

from dataclasses import dataclass
from pathlib import Path

from animdiff_cli import generate

MEDIA = Path(__file__).resolve().parents[1] / "docs" / "media"


@dataclass(frozen=True, slots=True)
class Picture:
    """One GIF of the README, rendered by the bundled miniature."""

    file: str
    prompt: str
    seed: int

    @property
    def command(self) -> str:
        """What to type for the same frames."""
        return f'animdiff generate --model pocket --prompt "{self.prompt}" --seed {self.seed}'


PICTURES = (
    Picture("bell.gif", "a green bell on the beach", 7),
    Picture("balloon.gif", "a turquoise balloon in the snow", 7),
    Picture("heart.gif", "an orange heart in a green meadow", 3),
)


def main() -> None:
    """Render every picture anew."""
    MEDIA.mkdir(parents=True, exist_ok=True)
    for picture in PICTURES:
        clip = generate(picture.prompt, model="pocket", seed=picture.seed)
        print(clip.save(MEDIA / picture.file, overwrite=True))


if __name__ == "__main__":
    main()
