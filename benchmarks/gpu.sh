#!/usr/bin/env bash
# Everything worth knowing from one GPU, in at most nine minutes and without a network.
#
#   WHEELS=folder benchmarks/gpu.sh          wheels that the machine's Python lacks are taken from there
#   OUT=folder benchmarks/gpu.sh             results go there too, as they come, and the table
#   benchmarks/gpu.sh --smoke                try the script on a CPU
#
# What matters most comes first. A measurement that hangs costs its own limit, and one for which no time is left is
# skipped. The table of all that was measured is printed at the end, also if the script is interrupted.
set -uo pipefail
cd "$(dirname "$0")/.."
budget=${BUDGET:-540} # seconds for everything, of which bash counts those that are over in SECONDS
reserve=10            # of them for the table
export PYTHONUNBUFFERED=1 HF_HUB_OFFLINE=1 TORCHINDUCTOR_COMPILE_THREADS="${TORCHINDUCTOR_COMPILE_THREADS:-16}"
python=${PYTHON:-python3}
if [[ -n "${WHEELS:-}" ]]; then
    site=$(mktemp -d)
    "$python" -m pip install -q --no-index --no-deps --no-compile --target "$site" "$WHEELS"/*.whl || exit
    export PYTHONPATH="$site${PYTHONPATH:+:$PYTHONPATH}"
fi
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
recorded=$PWD/benchmarks/results
export BENCHMARK_RESULTS="${OUT:-$(mktemp -d)}" # of this run alone
mkdir -p "$BENCHMARK_RESULTS"

measure() { # seconds, then a module with its arguments
    local left=$((budget - reserve - SECONDS)) limit=$1
    shift
    if ((left < 5)); then
        echo "== no time left for $*"
        failed=1
        return
    fi
    echo "== $* (after $SECONDS s)"
    timeout -k 5 "$((limit < left ? limit : left))" "$python" -W ignore -m "$@" \
        > >(grep --line-buffered -v "should be kept in float32") 2>&1 &
    running=$!
    wait "$running" || failed=1
    running=""
}

finish() {
    trap - EXIT INT TERM
    if [[ -n "$running" ]]; then kill "$running" && wait "$running"; fi
    echo "== results"
    "$python" -m benchmarks.summary | tee "$BENCHMARK_RESULTS/table.txt"
    if [[ -z "$smoke" ]]; then
        for file in "$BENCHMARK_RESULTS"/*.jsonl; do cat "$file" >>"$recorded/${file##*/}"; done
    fi
    exit "$failed"
}
failed=0 running="" smoke=""
shopt -s nullglob
trap finish EXIT
trap 'failed=1; exit' INT TERM

modes=(plain kernels graphs)
if [[ "${1:-}" == --smoke ]]; then # every part once, at sizes that a CPU runs in a few minutes
    smoke=yes budget=${BUDGET:-1800}
    export TRITON_INTERPRET=1
    tiny=(--model-size tiny --size 16 --frames 2 --dtype fp32 --device cpu)
    few=(--steps 2 --rounds 1)
    measure 120 benchmarks.norms --dtype fp32 --smoke
    measure 120 benchmarks.generate "${tiny[@]}" "${few[@]}" --modes plain kernels --profile
    measure 120 benchmarks.train "${tiny[@]}" --size 128 --rank 4 --steps 1 --contenders animdiff
    measure 400 benchmarks.memory --clips "sd15, 16 x 512" --weights-dtypes same --no-cards --folder "$BENCHMARK_RESULTS/weights"
    measure 60 benchmarks.decode "${tiny[@]}" --rounds 1
    measure 120 benchmarks.conditions "${tiny[@]}" "${few[@]}" --size 64
    measure 120 benchmarks.generate --model-size tiny-xl --size 16 --frames 2 --dtype fp32 --device cpu "${few[@]}" --modes plain
    exit
fi
sd15=(--model-size sd15 --dtype fp16 --rounds 1)
compiled=(blocks "blocks, graphs")
measure 100 benchmarks.generate "${sd15[@]}" --steps 25 --modes "${modes[@]}" --profile
measure 25 benchmarks.norms --dtype fp16
measure 50 benchmarks.generate --model-size pocket --size 128 --steps 20 --dtype fp16 --rounds 2 --modes "${modes[@]}" --profile \
    --from-fp32
measure 60 benchmarks.generate --model-size sd15 --dtype bf16 --steps 25 --rounds 1 --modes plain kernels
measure 70 benchmarks.train --model-size sd15 --dtype bf16 --size 512 --frames 16 --steps 3 \
    --contenders animdiff "animdiff, no spatial LoRA"
measure 140 benchmarks.memory --weights-dtypes same --no-cards # SD1.5 in three sizes and SDXL, recorded row by row
measure 140 benchmarks.generate "${sd15[@]}" --steps 8 --modes plain "${compiled[@]}"
measure 20 benchmarks.decode --dtype fp16
measure 45 benchmarks.conditions --device cuda --dtype fp16
measure 35 benchmarks.generate "${sd15[@]}" --steps 2 --modes blocks --only-animdiff # compiled code is on the disk now
measure 60 benchmarks.generate --model-size sdxl --dtype fp16 --size 1024 --frames 8 --steps 6 --rounds 1 --modes plain kernels
