"""The environment variables that the program reads, besides `ANIMDIFF_` followed by a setting of a render."""

from collections.abc import Mapping
from types import MappingProxyType

PREFIX = "ANIMDIFF_"

#: name → effect; the reference page is written from this table
VARIABLES: Mapping[str, str] = MappingProxyType(
    {
        "ANIMDIFF_MODELS": "Folder of downloaded weights.",
        "ANIMDIFF_CONFIG": "Folder of your presets and aliases.",
        "ANIMDIFF_OUTPUT": "Folder of outputs without `--output`; `animdiff-out` in the current folder by default.",
        "ANIMDIFF_CACHE": "Folder of data that can be computed again, such as latents of training clips.",
        "ANIMDIFF_STATE": "Folder in which `animdiff serve` notes its address for `--via auto`.",
        "ANIMDIFF_TOKEN": "Access token of `animdiff serve`, for the server and for `--via URL`.",
        "ANIMDIFF_EXTRA_MODELS": "Model folders of other programs, separated as in `PATH`.",
        "ANIMDIFF_DEVICE": "Default of `--device`: `auto`, `cuda`, `cuda:N`, `mps` or `cpu`.",
        "ANIMDIFF_THREADS": "Default of `--threads`.",
        "ANIMDIFF_ALLOW_HTTP": "`1` allows `http:` URLs of other machines, which are not encrypted.",
        "ANIMDIFF_CIVITAI_ENDPOINT": "URL of a mirror of Civitai.",
        "CIVITAI_TOKEN": "Access token, sent to Civitai only.",
        "CIVITAI_API_TOKEN": "The same, if `CIVITAI_TOKEN` is not set.",
        "HF_TOKEN": "Access token, sent to the Hugging Face Hub only; otherwise the login of `hf auth login`.",
        "HF_ENDPOINT": "URL of a mirror of the Hugging Face Hub.",
        "HF_HUB_OFFLINE": "`1` is the same as `--offline`.",
        "HF_HUB_CACHE": "Cache of the Hub, which is used in place; `hub` in `HF_HOME` by default.",
        "HF_HOME": "Folder of the Hub's cache and login.",
        "XDG_DATA_HOME": "Linux: `animdiff/models` in it is the default of `ANIMDIFF_MODELS`.",
        "XDG_CONFIG_HOME": "Linux: `animdiff` in it is the default of `ANIMDIFF_CONFIG`.",
        "XDG_CACHE_HOME": "Linux: `animdiff` in it is the default of `ANIMDIFF_CACHE`.",
        "XDG_STATE_HOME": "Linux: `animdiff` in it is the default of `ANIMDIFF_STATE`.",
        "TMPDIR": "Folder of temporary files.",
        "HTTPS_PROXY": "Proxy of downloads, `http:` or `socks5h:`; also `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY`.",
        "REQUESTS_CA_BUNDLE": "File of the certificates that downloads trust.",
        "OMP_NUM_THREADS": "Number of CPU threads without `--threads`.",
        "OMP_WAIT_POLICY": "How CPU threads wait: `PASSIVE` is best on a busy machine; a short spin by default.",
        "TERM": "`dumb` replaces progress bars by lines.",
        "NO_COLOR": "Any value turns colors off.",
        "COLUMNS": "Width of help pages and tables.",
    }
)
