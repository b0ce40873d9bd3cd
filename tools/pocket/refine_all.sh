#!/bin/sh
# Train the bundled decoder, image model and motion module on, one after the other, on a CUDA GPU.
#
#   tools/pocket/refine_all.sh WORK RESULT [MINUTES of the motion module]
#
# WORK keeps the clips and training states: the same command goes on where it was cut. RESULT is the whole bundle.
# The layers are compiled, and the motion module's steps replayed as one CUDA graph: 25 steps a second of 32 clips on
# an H100, where the same steps launched one by one ran at 7 of 48.
set -eu
work=$1
result=$2
minutes=${3:-11.5}
clips=14400
refine="${PYTHON:-python3} -m tools.pocket refine --clips $clips --work $work --compile"
$refine --part decoder --minutes 1 --batch 64 --learning-rate 4e-4 --out "$work/decoder"
$refine --part image --minutes 2.5 --batch 256 --learning-rate 5e-4 --bundle "$work/decoder" --out "$work/image"
$refine --part motion --minutes "$minutes" --batch 32 --learning-rate 6e-4 --graph --bundle "$work/image" --out "$result"
