"""The tables of `docs/guides/small-cards.md`, from the records of `benchmarks.memory`.

python -m benchmarks.memory_table
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

Record = Mapping[str, Any]
RESULTS = Path(__file__).parent / "results" / "memory.jsonl"


def records(path: Path = RESULTS) -> list[Record]:
    """Read the counted records. Of equal ones, the last one counts."""
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    keys = ("clip", "card_gb", "level", "weights_dtype")
    return list({tuple(line[key] for key in keys): line for line in lines if line["how"] == "counted"}.values())


def modes(found: list[Record]) -> Iterator[str]:
    """Yield the table of modes: GB at the peak of denoising, and of that with weights in 8 bits."""
    rows = [record for record in found if record["card_gb"] is None]
    levels = list(dict.fromkeys(record["level"] for record in rows))
    names = ["`sequential`, least" if "groups" in level else f"`{level}`" for level in levels]
    yield f"| clip | {' | '.join(names)} |"
    yield "|---|" + "---:|" * len(levels)
    for clip in dict.fromkeys(record["clip"] for record in rows):
        cells = []
        for level in levels:
            of_level = [record for record in rows if (record["clip"], record["level"]) == (clip, level)]
            same, fp8 = (
                next(r["bytes"]["denoising"] for r in of_level if r["weights_dtype"] == dtype)
                for dtype in ("same", "fp8")
            )
            cells.append(
                f"{same / 1e9:.1f}" + (f" ({fp8 / 1e9:.1f})" if f"{fp8 / 1e9:.1f}" != f"{same / 1e9:.1f}" else "")
            )
        yield f"| {clip} | {' | '.join(cells)} |"


def cards(found: list[Record]) -> Iterator[str]:
    """Yield the table of cards: what `auto` chooses, and GB at the highest peak."""
    rows = [record for record in found if record["card_gb"]]
    sizes = list(dict.fromkeys(record["card_gb"] for record in rows))
    yield f"| clip | {' | '.join(f'{size} GB' for size in sizes)} |"
    yield "|---|" + "---|" * len(sizes)
    for clip in dict.fromkeys(record["clip"] for record in rows):
        of_clip = {record["card_gb"]: record for record in rows if record["clip"] == clip}
        yield f"| {clip} | {' | '.join(_card(of_clip[size]) for size in sizes)} |"


def _card(record: Record) -> str:
    if not record["fits"]:
        return "too little"
    level = (
        record["level"].replace("4 frame groups", "groups").replace("VAE tiles of ", "tiles of ").replace(" pixels", "")
    )
    return f"{level}: {max(record['bytes'].values()) / 1e9:.1f}"


if __name__ == "__main__":
    print("\n".join((*modes(records()), "", *cards(records()))))
