#!/usr/bin/env bash
# What only a GPU can show, in one call of about nine minutes: build, tests, both benchmarks, one run of the default.
#     bash benchmarks/gpu.sh OUT_FOLDER [quick]
set -uo pipefail
cd "$(dirname "$0")/.."
out=$(realpath "$1") quick=${2:+--quick}
export PYTHONPATH=$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1 GAN_REF_CACHE=${GAN_REF_CACHE:-/tmp/gan_ref_cache}
mkdir -p "$out"

stage() { # NAME SECONDS COMMAND…: its output in OUT/NAME.log, its end on the terminal
    local name=$1 limit=$2 began=$SECONDS status
    shift 2
    timeout "$limit" "$@" >"$out/$name.log" 2>&1
    status=$?
    echo "== $name: status $status after $((SECONDS - began)) s"
    tail -n "${LINES_SHOWN:-12}" "$out/$name.log"
}

nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader
stage build 120 python3 -m gan_ref kernels --build
stage tests 270 python3 -m pytest -q -m cuda -n 8 --durations=8
stage kernels 200 python3 benchmarks/kernels.py --device cuda $quick --out "$out/kernels-gpu.json"
stage training 200 python3 benchmarks/training.py --device cuda $quick --out "$out/training-gpu.json"
stage run 120 python3 train.py --steps 2000 --no-walk --out "$out/run"
