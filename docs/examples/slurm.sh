#!/usr/bin/env bash
# Render a batch on a Slurm cluster: one shard for each task of the array.
#
#   sbatch --array=1-8 slurm.sh night.yaml /shared/night/
#
# Slurm sends SIGTERM two minutes before the time limit, and before it preempts a job. animdiff then finishes its clip
# and stops with exit code 130; the task is put back into the queue and goes on where it stopped.
#SBATCH --job-name=animdiff
#SBATCH --array=1-4
#SBATCH --gpus=1
#SBATCH --cpus-per-task=4
#SBATCH --mem=24G
#SBATCH --time=04:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=animdiff-%A_%a.log
set -euo pipefail

batch=${1:?usage: sbatch slurm.sh BATCH OUTPUT}
output=${2:?usage: sbatch slurm.sh BATCH OUTPUT}

animdiff batch "$batch" --output "$output" --shard "$SLURM_ARRAY_TASK_ID/$SLURM_ARRAY_TASK_COUNT" --retry 1 &
worker=$!
trap 'kill -TERM "$worker"' TERM # the shell gets the signal, not the program

while :; do
    code=0
    wait "$worker" || code=$?
    kill -0 "$worker" 2>/dev/null || break # a signal ends `wait` while the clip is being finished
done

if [ "$code" = 130 ] || [ "$code" = 143 ]; then
    scontrol requeue "${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
fi
exit "$code"
