#!/usr/bin/env bash
# Everything worth knowing from one GPU, in at most nine minutes and without a network.
#
#   WHEELS=folder benchmarks/gpu.sh          wheels that the machine's Python lacks are taken from there
#   OUT=folder benchmarks/gpu.sh             results go there too
#
# Each measurement has its own time limit, so one that hangs does not cost the others.
set -uo pipefail
cd "$(dirname "$0")/.."
export PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1 TORCHINDUCTOR_COMPILE_THREADS="${TORCHINDUCTOR_COMPILE_THREADS:-16}"
python=${PYTHON:-python3}
if [[ -n "${WHEELS:-}" ]]; then
    site=$(mktemp -d)
    "$python" -m pip install -q --no-index --no-deps --no-compile --target "$site" "$WHEELS"/*.whl || exit
    export PYTHONPATH="$site${PYTHONPATH:+:$PYTHONPATH}"
fi
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"

measure() { # seconds, then a module with its arguments
    local limit=$1
    shift
    echo "== $*"
    timeout "$limit" "$python" -W ignore -m "$@" 2>&1 | grep -v "should be kept in float32" || true
}

measure 60 benchmarks.temporal_attention --dtype fp16
measure 90 benchmarks.generate --model-size sd15 --dtype fp16 --rounds 2
measure 70 benchmarks.generate --model-size sd15 --dtype bf16 --rounds 2
measure 200 benchmarks.generate --model-size sd15 --dtype fp16 --rounds 2 --compile
measure 70 benchmarks.generate --model-size sd15 --dtype fp16 --frames 64 --steps 5 --rounds 1
measure 90 benchmarks.train --model-size sd15 --dtype bf16
measure 40 benchmarks.generate --model-size pocket --size 128 --steps 20 --dtype fp16 --rounds 2
if [[ -n "${OUT:-}" ]]; then cp benchmarks/results/*.jsonl "$OUT"/; fi
