"""The diffusers folder of a model: weights by part, and the configs and tokenizers that single files lack."""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from animdiff_cli.core.model_parts import MODEL_PARTS, TOKENIZERS, networks_of, parts_of, tokenizers_of
from animdiff_cli.errors import IntegrityError
from animdiff_cli.files.untrusted import parse_json, read_bytes, read_json
from animdiff_cli.weights import model_configs
from animdiff_cli.weights.canonical import UNKNOWN, CanonicalWeights, ConvertedWeights
from animdiff_cli.weights.completeness import check_part, network_shapes
from animdiff_cli.weights.info import KIND_KEY
from animdiff_cli.weights.lazy import LazyTensor

#: part → function of tensors and base that derives its config
CONFIGS: Mapping[str, Callable[[Mapping[str, LazyTensor], str], dict[str, Any]]] = {
    "unet": model_configs.unet,
    "vae": model_configs.vae,
    "text_encoder": model_configs.text_encoder,
    "text_encoder_2": lambda tensors, base: model_configs.text_encoder(tensors, base, "text_encoder_2"),
}
CLIP_TOKENS = 49408
#: metadata key under which a single file stores the configs of its source folder, and a tokenizer other than CLIP's
CONFIGS_KEY = "animdiff.configs"
_CONFIG_NAMES = ("config.json", "scheduler_config.json")
_TOKENIZER_NAMES = ("vocab.json", "merges.txt", "tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


def layout_folder(contents: CanonicalWeights, base: str, source: str) -> ConvertedWeights:
    """Convert a model to a folder. Raises `IntegrityError` if a part is missing or its tokenizer is unknown."""
    files: dict[str, dict[str, LazyTensor]] = {}
    kept = kept_configs(contents.metadata)
    configs = {"model_index.json": _json(_index(base, kept))}
    configs["scheduler/scheduler_config.json"] = _json(model_configs.shipped_config(base, "scheduler"))
    for part in filter(lambda part: part.weights_stem, parts_of(base)):
        tensors = part_tensors(contents, part.name)
        if not tensors:
            raise IntegrityError(
                f"{source} has no {part.name}", hint="convert it with `--to original`, which allows missing parts"
            )
        files[f"{part.name}/{part.weights_stem}.safetensors"] = tensors
        configs[f"{part.name}/config.json"] = _json(part_config(part.name, contents, base, source))
    for tokenizer in tokenizers_of(base):
        named = tokenizer_of(tokenizer, contents, base, source)
        configs |= {f"{tokenizer}/{name}": text for name, text in named.items()}
    configs |= {name: text.encode() for name, text in kept.items()}
    metadata = {key: value for key, value in contents.metadata.items() if key != CONFIGS_KEY}
    return ConvertedWeights(
        files, dropped=contents.dropped, metadata=metadata | {KIND_KEY: "base", "format": "pt"}, configs=configs
    )


def check_parts(contents: CanonicalWeights, base: str, source: str) -> None:
    """Raise `IntegrityError` if a part lacks weights or has unknown ones. Parts without any weights are skipped."""
    for part in networks_of(base):
        if tensors := part_tensors(contents, part):
            check_part(part, tensors, part_config(part, contents, base, source), source)


def without_unknown(contents: CanonicalWeights, base: str, source: str) -> CanonicalWeights:
    """Drop weights that the network of their part does not have. Raises `IntegrityError` for invalid configs."""
    unknown: dict[str, str] = {}
    for part in networks_of(base):
        if tensors := part_tensors(contents, part):
            known = network_shapes(part, tensors, part_config(part, contents, base, source), source)
            unknown |= {f"{part}.{name}": UNKNOWN for name in tensors if name not in known}
    if not unknown:
        return contents
    tensors = {name: tensor for name, tensor in contents.tensors.items() if name not in unknown}
    return replace(contents, tensors=tensors, dropped={**contents.dropped, **unknown})


def part_config(part: str, contents: CanonicalWeights, base: str, source: str) -> dict[str, Any]:
    """Return the config of a part: the recorded one, or one derived from the shapes of its tensors."""
    try:
        if recorded := kept_configs(contents.metadata).get(f"{part}/config.json"):
            config = parse_json(recorded)
            return config if isinstance(config, dict) else {}
        return CONFIGS[part](part_tensors(contents, part), base)
    except (KeyError, ValueError, IndexError, StopIteration) as error:
        raise IntegrityError(
            f"{source}: its {part} is incomplete ({error})", hint="download the model again"
        ) from error


def tokenizer_of(part: str, contents: CanonicalWeights, base: str, source: str) -> dict[str, bytes]:
    """Return the files of a tokenizer: the recorded ones, or CLIP's if the vocabulary size matches."""
    own = {name: text.encode() for name, text in kept_configs(contents.metadata).items() if name.startswith(f"{part}/")}
    if own:
        return {name.removeprefix(f"{part}/"): text for name, text in own.items()}
    _check_vocabulary(contents.tensors, source)
    return model_configs.tokenizer_files(base, part)


def part_tensors(contents: CanonicalWeights, part: str) -> dict[str, LazyTensor]:
    """Return the weights of one part, without its prefix."""
    prefix = f"{part}."
    return {key.removeprefix(prefix): t for key, t in contents.tensors.items() if key.startswith(prefix)}


def recorded_configs(folder: Path) -> dict[str, str]:
    """Read the configs and tokenizers that a single file records so that it converts back to the same folder."""
    texts = {
        path.relative_to(folder).as_posix(): _read_text(path)
        for path in sorted(folder.glob("*/*.json"))
        if path.name in _CONFIG_NAMES
    }
    own: dict[str, str] = {}
    for part in TOKENIZERS.values():
        files = [path for name in _TOKENIZER_NAMES if (path := folder / part / name).is_file()]
        if files and not _is_clip(files):
            own |= {f"{part}/{path.name}": _read_text(path) for path in files}
    return {CONFIGS_KEY: json.dumps(texts | own, sort_keys=True)}


def _read_text(path: Path) -> str:
    try:
        return read_bytes(path).decode("utf-8")
    except ValueError as error:
        raise IntegrityError(f"{path} cannot be read: {error}", hint="download the model again") from error


def kept_configs(metadata: Mapping[str, str]) -> dict[str, str]:
    """Return the recorded configs, by path in the folder. Unknown paths are ignored."""
    try:
        table = parse_json(metadata.get(CONFIGS_KEY, "{}"))
    except ValueError:
        return {}
    if not isinstance(table, dict):
        return {}
    names = {f"{part.name}/{name}" for part in MODEL_PARTS for name in (*_CONFIG_NAMES, *_TOKENIZER_NAMES)}
    return {name: text for name, text in table.items() if name in names and isinstance(text, str)}


def _index(base: str, kept: Mapping[str, str]) -> dict[str, Any]:
    """Return `model_index.json`, with the scheduler class that the recorded config names."""
    index = model_configs.shipped_config(base, "model_index")
    named = re.search(r'"_class_name": "(\w+Scheduler)"', kept.get("scheduler/scheduler_config.json", ""))
    return index | ({"scheduler": ["diffusers", named[1]]} if named else {})


def _is_clip(files: list[Path]) -> bool:
    """Return whether a vocabulary has as many tokens as CLIP's, which ships with this program."""
    for path in files:
        if path.name in ("vocab.json", "tokenizer.json"):
            try:
                table = read_json(path)
                vocabulary = table["model"]["vocab"] if path.name == "tokenizer.json" else table
                return len(vocabulary) == CLIP_TOKENS
            except (ValueError, KeyError, TypeError) as error:
                raise IntegrityError(f"{path} has no valid vocabulary", hint="download the model again") from error
    return False


def _check_vocabulary(tensors: Mapping[str, LazyTensor], source: str) -> None:
    tokens = tensors["text_encoder.text_model.embeddings.token_embedding.weight"].num_rows
    if tokens < CLIP_TOKENS:
        raise IntegrityError(
            f"{source} has a vocabulary of {tokens} tokens, CLIP has {CLIP_TOKENS}",
            hint="convert it from its source folder",
        )


def _json(config: Mapping[str, Any]) -> bytes:
    return json.dumps(config, indent=2).encode() + b"\n"
