"""Build CLIP's tokenizer files from the merge list in the `open_clip_torch` wheel (MIT licence).

    pip download open_clip_torch --no-deps -d DIR
    python tools/clip_files.py DIR/open_clip_torch-*.whl

Single-file checkpoints contain no tokenizer; all Stable Diffusion models use this one. Writes `vocab.json`,
`merges.txt` and `LICENSE` beside the shipped model configs.
"""

import gzip
import json
import sys
import zipfile
from pathlib import Path

from transformers.convert_slow_tokenizer import bytes_to_unicode

TARGET = Path(__file__).parents[1] / "animdiff_cli" / "weights" / "configs" / "clip"
VOCABULARY = "open_clip/bpe_simple_vocab_16e6.txt.gz"
#: CLIP uses the first part of the list: 49152 minus 256 bytes, in two forms each, minus start and end token
NUM_MERGES = 49152 - 256 - 2


def main(wheel: Path) -> None:
    """Write the three files."""
    with zipfile.ZipFile(wheel) as archive:
        lines = gzip.decompress(archive.read(VOCABULARY)).decode("utf-8").split("\n")
        licence = next(name for name in archive.namelist() if name.endswith("/LICENSE"))
        terms = archive.read(licence)
    merges = lines[1 : NUM_MERGES + 1]
    characters = list(bytes_to_unicode().values())
    words = [*characters, *(character + "</w>" for character in characters)]
    words += ["".join(merge.split()) for merge in merges]
    words += ["<|startoftext|>", "<|endoftext|>"]
    vocabulary = {word: number for number, word in enumerate(words)}
    TARGET.mkdir(parents=True, exist_ok=True)
    (TARGET / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    (TARGET / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")
    (TARGET / "LICENSE").write_bytes(terms)
    print(f"{len(vocabulary)} tokens, {len(merges)} merges in {TARGET}")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
