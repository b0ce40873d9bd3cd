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
    Picture("rocket.gif", "a red rocket in the night sky", 7),
    Picture("ball.gif", "a purple ball in a green meadow", 1),
    Picture("balloon.gif", "a pink balloon in the snow", 1),
)


def main() -> None:
    """Render every picture anew."""
    MEDIA.mkdir(parents=True, exist_ok=True)
    for picture in PICTURES:
        clip = generate(picture.prompt, model="pocket", seed=picture.seed)
        print(clip.save(MEDIA / picture.file, overwrite=True))


if __name__ == "__main__":
    main()
