#!/usr/bin/env bash
# A step and decoding on a CPU beside diffusers, for small models in bf16 and float32, and in float32 as on a processor
# without AVX-512: in under five minutes on two cores.
#
#   benchmarks/cpu.sh                        on an idle machine, two threads
#   THREADS=1 benchmarks/cpu.sh              one thread: processor time, so the machine may be busy
#
# Prints a table with ratios to diffusers; "plain" is this program without its kernels. Appends to
# benchmarks/results/generate.jsonl, or to the folder that BENCHMARK_RESULTS names.
set -uo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" OMP_NUM_THREADS="${THREADS:-2}" HF_HUB_OFFLINE=1
results=$(realpath -m "${BENCHMARK_RESULTS:-benchmarks/results}")
BENCHMARK_RESULTS=$(mktemp -d)  # the table is of this run alone
export BENCHMARK_RESULTS
failed=0
avx2=(ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2)

run() { # model, dtype, further options and variables
    env "${@:4}" "$python" -W ignore -m benchmarks.generate --device cpu --model-size "$1" --dtype "$2" --size 128 \
        --steps 4 --rounds 2 --modes plain auto $3 2> >(grep -v "float32: \[\]\|transformers" >&2) || failed=1
}

run pocket bf16 "--profile --from-fp32"
run pocket fp32 --profile
run small bf16 --from-fp32
run small fp32 ""
run pocket fp32 "" "${avx2[@]}"
run small fp32 "" "${avx2[@]}"
"$python" -m benchmarks.summary
mkdir -p "$results" && cat "$BENCHMARK_RESULTS/generate.jsonl" >>"$results/generate.jsonl" && rm -r "$BENCHMARK_RESULTS"
exit $failed
