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
# by the program's own command: footage of which a third is seen by a moving camera, without captions. Such moves are
# then something footage does, for MotionLoRAs to call up, and nothing that a prompt silent about them means.
"${PYTHON:-python3}" -m tools.pocket footage --out "$work/footage" --what clips --count 3000 --camera 0.35 --seed 4000
"${PYTHON:-python3}" -m animdiff_cli train-motion --videos "$work/footage" --model "$result" \
    --resume-from "$result/motion_module.safetensors" -o "$work/motion-module" --stride 1 --size 128 \
    --steps 5500 --batch 16 --lr 5e-4 --ema 0.998 --save-every 1000 --set warmup=100 --set lr_schedule=cosine \
    --set variants=1 --set snr_gamma=0.02 --set noise_offset=0.3 --set caption_dropout=0.05 --set cuda_graph=true
"${PYTHON:-python3}" -m tools.pocket bundle --bundle "$result" "$work/motion-module/motion-module.safetensors"
# the decoder once more, so that LoRAs of two styles can be seen: crayon and neon, and as much of the base style
$refine --part decoder --style base,base,crayon,neon --clips 2400 --minutes 1.25 --batch 64 --learning-rate 4e-4 \
    --graph --bundle "$result" --out "$result"
