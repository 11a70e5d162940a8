#!/bin/sh
# Measure a Hopper GPU in one go on a machine that has torch but no network; `make wheels` elsewhere fetches the rest.
#
#   scripts/profile_gpu.sh FOLDER [SECONDS] [profile]     FOLDER gets profile.json, selfcheck.json and the logs; a
#                                                         profile.json that lies there is gone on with, a selfcheck.json
#                                                         is kept; with "profile" no selfcheck is made
#
# It ends within SECONDS (570 unless given): every step has a limit, so that one that hangs does not take the others'
# time, and the profile is whole after every row. A short run of everything comes first; where a row that a plan needs
# fails in it, nothing else is tried.
set -u
[ $# -ge 1 ] || { echo "usage: $0 FOLDER [SECONDS] [profile]"; exit 2; }
folder=$1 end=$(($(date +%s) + ${2:-570}))
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
python3 -m pip install -q --no-index --no-deps --no-compile --target "$site" .wheels/*.whl || exit 2
export PYTHONPATH="$PWD:$site" PYTHONUNBUFFERED=1
mkdir -p "$folder"
profiler="python3 -m profiler"
selfcheck_s=170
[ "${3:-}" = profile ] || [ -e "$folder/selfcheck.json" ] && selfcheck_s=0

left() { # seconds until the end, less what is kept for later steps
    echo $((end - $(date +%s) - $1))
}
limited() { # seconds, log, command...
    seconds=$1 log=$2
    shift 2
    [ "$seconds" -ge 20 ] || { echo "No time left for: $*" | tee -a "$folder/$log"; return 1; }
    timeout -k 10 "$seconds" "$@" 2>&1 | tee -a "$folder/$log"
}
measure() { # share of the time left, models, degrees
    seconds=$(awk "BEGIN { print int(($(left $selfcheck_s) - 30) * $1) }")
    minutes=$(awk "BEGIN { print $seconds / 60 }")
    resume=
    [ -e "$folder/profile.json" ] && resume=--resume
    limited $((seconds + 25)) run.txt $profiler run --model "$2" --tp "$3" --execution eager,compiled \
        --recompute none,full --attention flash,cudnn --budget-minutes "$minutes" --out "$folder/profile.json" $resume
}

if [ ! -e "$folder/profile.json" ]; then
    limited 60 doctor.txt $profiler doctor
    limited 100 smoke.txt $profiler run --budget-minutes 0.41 --seq-len 512 --context-len 2048 --tp 8 \
        --execution eager,compiled --out "$site/smoke.json"
    $profiler validate "$site/smoke.json" --needs matmul,block,head_loss ||
        { echo "The short run failed: see smoke.txt."; cp "$site/smoke.json" "$folder"; exit 3; }
fi

measure 0.7 llama3.1-405b,llama3.1-70b 8
measure 1.0 llama3.1-8b 1
$profiler validate "$folder/profile.json"
[ $selfcheck_s -eq 0 ] ||
    limited "$(left 5)" selfcheck.txt $profiler selfcheck --layers 4 --json "$folder/selfcheck.json"
