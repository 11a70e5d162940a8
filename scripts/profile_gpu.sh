#!/bin/sh
# Measure a Hopper GPU in one go on a machine that has torch but no network; `make wheels` elsewhere fetches the rest.
#
#   scripts/profile_gpu.sh FOLDER [MINUTES] [TP]     FOLDER gets profile.json, selfcheck.json and the logs;
#                                                    a profile.json that lies there is gone on with
#
# Every step has a limit, so that one that hangs does not take the others' time; the profile is whole after every row.
set -u
[ $# -ge 1 ] || { echo "usage: $0 FOLDER [MINUTES] [TP]"; exit 2; }
folder=$1 minutes=${2:-6.5} tp=${3:-8,1}
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
python3 -m pip install -q --no-index --no-deps --no-compile --target "$site" .wheels/*.whl || exit 2
export PYTHONPATH="$PWD:$site" PYTHONUNBUFFERED=1
mkdir -p "$folder"

limited() { # seconds, log, command...
    seconds=$1 log=$2
    shift 2
    timeout -k 10 "$seconds" "$@" 2>&1 | tee -a "$folder/$log"
}
profiler="python3 -m profiler"

limited 90 doctor.txt $profiler doctor
limited 120 smoke.txt $profiler run --budget-minutes 0.2 --seq-len 64 --tp 8 --out "$site/smoke.json"
$profiler validate "$site/smoke.json" || { echo "The short run failed: see smoke.txt."; exit 3; }

resume=
[ -e "$folder/profile.json" ] && resume=--resume
limit=$(awk "BEGIN { print int(60 * $minutes + 45) }")
limited "$limit" run.txt $profiler run --model llama3.1-8b,llama3.1-70b,llama3.1-405b --tp "$tp" \
    --execution eager,compiled --recompute none,full --attention flash,cudnn \
    --budget-minutes "$minutes" --out "$folder/profile.json" $resume
$profiler validate "$folder/profile.json"
limited 110 selfcheck.txt $profiler selfcheck --layers 4 --json "$folder/selfcheck.json"
