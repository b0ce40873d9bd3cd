#!/usr/bin/env bash
# A step and decoding on a CPU beside diffusers, for small models in bf16 and float32: in under four minutes on two cores.
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
failed=0
for model in pocket small; do
    for dtype in bf16 fp32; do
        "$python" -W ignore -m benchmarks.generate --device cpu --model-size "$model" --dtype "$dtype" --size 128 \
            --steps 4 --rounds 2 --modes plain auto \
            $([[ $model == pocket ]] && echo --profile) $([[ $dtype == bf16 ]] && echo --from-fp32) \
            2> >(grep -v "float32: \[\]\|transformers" >&2) || failed=1
    done
done
"$python" -m benchmarks.summary
exit $failed
