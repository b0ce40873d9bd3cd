#!/usr/bin/env bash
# Everything worth knowing from one GPU, in at most nine minutes and without a network.
#
#   WHEELS=folder benchmarks/gpu.sh          wheels that the machine's Python lacks are taken from there
#   OUT=folder benchmarks/gpu.sh             results go there too
#   benchmarks/gpu.sh --smoke                try the script on a CPU
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
    timeout "$limit" "$python" -W ignore -m "$@" 2>&1 | grep -v "should be kept in float32" || failed=1
}
failed=0

modes="plain kernels graphs"
if [[ "${1:-}" == --smoke ]]; then # every part once, at sizes that a CPU runs in a minute or two
    export BENCHMARK_RESULTS=${BENCHMARK_RESULTS:-$(mktemp -d)} TRITON_INTERPRET=1
    tiny=(--model-size tiny --size 16 --frames 2 --dtype fp32 --device cpu)
    modes="plain kernels"
    measure 120 benchmarks.norms --dtype fp32 --smoke
    measure 120 benchmarks.generate "${tiny[@]}" --steps 2 --rounds 1 --modes $modes --profile
    measure 120 benchmarks.generate --model-size tiny-xl --size 16 --frames 2 --dtype fp32 --device cpu --steps 2 --rounds 1 \
        --modes plain
    measure 60 benchmarks.decode "${tiny[@]}" --rounds 1
    measure 60 benchmarks.deep_call "${tiny[@]}"
    measure 120 benchmarks.train "${tiny[@]}" --size 128 --rank 4 --steps 1
    measure 30 benchmarks.summary
    exit $failed
fi
sd15=(--model-size sd15 --dtype fp16)
measure 25 benchmarks.norms --dtype fp16
measure 80 benchmarks.generate "${sd15[@]}" --steps 12 --rounds 1 --modes $modes --profile
measure 45 benchmarks.generate --model-size pocket --size 128 --steps 20 --dtype fp16 --rounds 2 --modes $modes --profile
measure 40 benchmarks.generate --model-size sd15 --dtype bf16 --steps 6 --rounds 1 --modes plain kernels
measure 60 benchmarks.generate --model-size sdxl --dtype fp16 --size 1024 --frames 8 --steps 6 --rounds 1 --modes plain kernels
measure 95 benchmarks.generate "${sd15[@]}" --steps 12 --rounds 1 --modes blocks "blocks, graphs"
measure 65 benchmarks.train --model-size sd15 --dtype bf16 --size 512 --frames 16 --steps 3
measure 20 benchmarks.temporal_attention --dtype fp16
measure 20 benchmarks.decode --dtype fp16
measure 20 benchmarks.deep_call --dtype fp16 --rounds 3
measure 65 benchmarks.memory --models sd15
measure 5 benchmarks.summary
if [[ -n "${OUT:-}" ]]; then cp "${BENCHMARK_RESULTS:-benchmarks/results}"/*.jsonl "$OUT"/; fi
