#!/bin/sh
# Train the pocket model unattended and pack the result into pieces of 15 MB.
#
#   tools/pocket/train_all.sh MINUTES RESULTS [flags of `python -m tools.pocket train`]
#
# RESULTS then holds log.csv, sample sheets (PNG) and, once training is complete, pocket.tar.part-aa and following:
# `cat pocket.tar.part-* | tar -x -C animdiff_cli/pocket` unpacks them. With `--stop-after 9` the run ends after nine
# minutes; the same command goes on from there. PYTHON names another interpreter.
set -eu
minutes=$1
results=$2
shift 2
work=.pocket
mkdir -p "$results"
status=0
"${PYTHON:-python3}" -m tools.pocket.train --stage all --minutes "$minutes" \
    --work "$work" --out "$work/bundle" --sheets "$results" "$@" || status=$?
cp "$work/log.csv" "$results/" || true
# weights are written before the sheets: they come back even if drawing those fails
if [ -f "$work/bundle/README.md" ]; then
    tar -C "$work/bundle" -cf - . | split -b 15m - "$results/pocket.tar.part-"
fi
exit "$status"
