#!/usr/bin/env bash
# Render a batch on several machines over ssh: one shard for each line of a file of hosts.
#
#   bash ssh.sh hosts.txt night.yaml s3://bucket/night/
#
# Each machine has animdiff and the weights. The batch file is sent to it; the output is a URL, or a folder that all
# machines share. A line of hosts.txt is what `ssh` takes, as in `me@gpu-1`; a machine with two GPUs has two lines,
# `me@gpu-1 cuda:0` and `me@gpu-1 cuda:1`. Run it again to render what is left.
set -euo pipefail

hosts=${1:?usage: ssh.sh HOSTS BATCH OUTPUT}
batch=${2:?usage: ssh.sh HOSTS BATCH OUTPUT}
output=${3:?usage: ssh.sh HOSTS BATCH OUTPUT}

lines=()
while read -r line || [ -n "$line" ]; do
    case $line in '' | '#'*) ;; *) lines+=("$line") ;; esac
done <"$hosts"

render() { # host device shard
    local command=(animdiff batch - --output "$output" --shard "$3" --device "$2" --retry 1)
    # ssh passes its arguments to a shell as one text, so that they are quoted here
    ssh -o BatchMode=yes "$1" "$(printf '%q ' "${command[@]}")" <"$batch" 2>&1 |
        while IFS= read -r text; do printf '%s %s: %s\n' "$3" "$1" "$text"; done
}

workers=()
for index in "${!lines[@]}"; do
    read -r host device <<<"${lines[index]} auto"
    render "$host" "${device%% *}" "$((index + 1))/${#lines[@]}" &
    workers+=($!)
done

code=0
for worker in "${workers[@]}"; do
    wait "$worker" || code=$?
done
exit "$code"
