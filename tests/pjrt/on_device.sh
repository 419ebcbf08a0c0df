# on_device.sh - the real thing: a PJRT plugin with a device behind it. Not run by ctest.
#
#     sh tests/pjrt/on_device.sh PLUGIN.so [WORK]
#
# PLUGIN is libtpu.so, jax's CUDA plugin (.../jax_plugins/xla_cuda13/xla_cuda_plugin.so) or any other. It prints
#   1. each step of bench_pjrt: version, devices, every kind of program compiled and compared with plain loops,
#      upload bandwidth, the time of a launch;
#   2. a table: data, target, batch, recall and queries/s of the device, of the CPU in the same run, and of
#      jax.lax.approx_max_k on the same device and arrays where python3 has jax.
# The index and the random set stay in WORK (default: a new directory in TMPDIR), so that a second run is quick.
#
# For jax's CUDA plugin the NVIDIA libraries of its pip packages are found by this script. Environment: ROWS (1000000),
# QUERIES (10000), BATCHES (1,64,1000,10000), TARGETS (0.9,0.95,0.99,1), BUILD (build), DATA
# (../shared/data beside the checkout), PYTHON (python3).
set -eu
plugin=${1:?a PJRT plugin}
here=$(cd "$(dirname "$0")/../.." && pwd)
build=${BUILD:-$here/build}
data=${DATA:-$here/../shared/data}
python=${PYTHON:-python3}
rows=${ROWS:-1000000} queries=${QUERIES:-10000}
batches=${BATCHES:-1,64,1000,10000} targets=${TARGETS:-0.9,0.95,0.99,1}
work=${2:-$(mktemp -d)}
vindex=$build/bin/vindex
mkdir -p "$work"

# jax's CUDA plugin finds its libraries by itself; ptxas and libdevice have to be pointed at.
nvidia=$(dirname "$plugin")/../../nvidia
if [ -d "$nvidia" ]; then
    for folder in "$nvidia"/*/lib; do LD_LIBRARY_PATH=$folder:${LD_LIBRARY_PATH:-}; done
    export LD_LIBRARY_PATH
    for folder in "$nvidia"/*/bin; do [ -x "$folder/ptxas" ] && PATH=$folder:$PATH; done
    for folder in "$nvidia"/*/nvvm; do
        [ -d "$folder" ] && export XLA_FLAGS="--xla_gpu_cuda_data_dir=${folder%/nvvm} ${XLA_FLAGS:-}"
    done
fi
export TF_CPP_MIN_LOG_LEVEL="${TF_CPP_MIN_LOG_LEVEL:-1}"

echo "== programs and transfers"
"$build/bench/bench_pjrt" "$plugin"

# name metric index queries truth limit
measure()
{
    for batch in $(echo "$batches" | tr , ' '); do
        # a second or so of single queries is enough
        limit=$6
        [ "$batch" -ge 64 ] || limit=$((limit < 1000 ? limit : 1000))
        for device in "pjrt:$plugin,required" cpu; do
            "$vindex" eval "$3" -q "$4" -g "$5" -k 10 --recall "$targets" --batch "$batch" \
                --limit "$limit" --device "$device" --json |
                sed 's/.*"recall_target":\([0-9.]*\),"recall":\([0-9.]*\),"qps":\([0-9.]*\),.*"batch":\([0-9]*\),.*"plan":"\([^"]*\)".*/\1 \4 \2 \3 \5/' |
                awk -v name="$1" -v device="${device%%:*}" '{
                    plan = $0; sub(/^[^ ]* [^ ]* [^ ]* [^ ]* /, "", plan)
                    printf "%-16s %6s %6s  %-4s %8.4f %12.1f  %s\n", name, $1, $2, device, $3, $4, plan }'
        done
    done
}

header()
{
    printf '%-16s %6s %6s  %-4s %8s %12s  %s\n' data target batch by recall queries/s plan
}

echo "== $rows x 128 f32, random, ip; and the same arrays by jax.lax.approx_max_k"
set_name=$work/random-$rows
if [ ! -f "$set_name.vdx" ]; then
    "$build/bench/bench_pjrt" --write "$set_name.base.fvecs" "$rows" 128 1
    "$build/bench/bench_pjrt" --write "$set_name.queries.fvecs" "$queries" 128 2
    "$vindex" build -i "$set_name.base.fvecs" -o "$set_name.vdx" --metric ip > /dev/null
    "$vindex" search "$set_name.vdx" -q "$set_name.queries.fvecs" -k 10 --recall 1 --batch 1024 \
        --device cpu -o "$set_name.truth.ivecs" > /dev/null
fi
header
measure "random-$rows" ip "$set_name.vdx" "$set_name.queries.fvecs" "$set_name.truth.ivecs" "$queries"
if "$python" -c 'import jax' 2> /dev/null; then
    "$python" "$here/tests/pjrt/approx_max_k.py" "$set_name.base.fvecs" "$set_name.queries.fvecs" \
        "$set_name.truth.ivecs" 10 "$targets" "$batches"
else
    echo "jax.lax.approx_max_k: $python has no jax; PYTHON names another"
fi

if [ -f "$data/photo-sift-128/base.bvecs.gz" ]; then
    echo "== photo-sift-128, u8, l2"
    sift=$work/photo-sift-128
    [ -f "$sift.vdx" ] || "$vindex" build -i "$data/photo-sift-128/base.bvecs.gz" -o "$sift.vdx" --metric l2 \
        --type uint8 > /dev/null
    header
    measure photo-sift-128 l2 "$sift.vdx" "$data/photo-sift-128/queries.bvecs.gz" \
        "$data/photo-sift-128/gt-l2.ivecs" "$queries"
fi

echo "== hits at recall 1 are the CPU's"
for by in "pjrt:$plugin,required" cpu; do
    "$vindex" search "$set_name.vdx" -q "$set_name.queries.fvecs" -k 10 --recall 1 --batch 256 --limit 1000 \
        --device "$by" --json > "$work/hits-${by%%:*}.json"
done
cmp "$work/hits-pjrt.json" "$work/hits-cpu.json" && echo "equal, 1000 queries"
