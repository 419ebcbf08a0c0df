# test_slow_recall.sh - recall on real data through the test plugin: at least the target at 0.9, 0.95 and 0.99; at 1
# the CPU's hits bit for bit. The data lies beside the checkout (../shared/data); without it the test is skipped.
set -eu
data=$VINDEX_SOURCE_DIR/../shared/data
test -f "$data/photo-sift-128/base.bvecs.gz" || { echo "skipped: no $data/photo-sift-128"; exit 77; }
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
plugin=pjrt:$VINDEX_PJRT_PLUGINS/good.so,required

# set metric type truth limit chunk, then what the plugin is told
check()
{
    base=$(ls "$data/$1"/base.?vecs*) queries=$(ls "$data/$1"/queries.?vecs*)
    index=$work/$1-$2-$3.vdx device=$plugin,chunk=$6
    test -f "$index" || "$VINDEX_BIN" build -i "$base" -o "$index" --metric "$2" --type "$3" > /dev/null
    export VINDEX_PJRT_TEST="$7"
    set -- "$1" "$2" "$3" "$4" "$5"
    search="$VINDEX_BIN search $index -q $queries -k 10 --recall 1 --limit $5 --batch 64 --threads 2 --json"
    $search > "$work/cpu.json"
    $search --device "$device" > "$work/device.json"
    cmp "$work/cpu.json" "$work/device.json"
    test "$(wc -l < "$work/cpu.json")" -eq "$5"
    echo "$1 $2 $3: the hits of $5 queries at recall 1 are the CPU's ($VINDEX_PJRT_TEST)"
    "$VINDEX_BIN" eval "$index" -q "$queries" -g "$data/$1/$4" -k 10 --recall 0.9,0.95,0.99,1 --limit "$5" \
        --batch 64 --device "$device" --json > "$work/eval.json"
    sed 's/.*"recall_target":\([0-9.]*\),"recall":\([0-9.]*\),.*"plan":"\([^"]*\)".*/\1 \2 \3/' "$work/eval.json"
    sed 's/.*"recall_target":\([0-9.]*\),"recall":\([0-9.]*\),.*"plan":"\([^"]*\)".*/\1 \2 \3/' "$work/eval.json" |
        awk '{ n++; if ($2 < $1 || !/device Test/) bad = 1; if ($1 == 1 && $3 != "exact:") bad = 1 }
             END { exit bad || n != 4 }' || { echo "below the target, or not on the device"; exit 1; }
}

check photo-sift-128 l2 uint8 gt-l2.ivecs 200 32768 "platform=cuda"
check photo-sift-128 l2 uint8 gt-l2.ivecs 64 65536 "platform=tpu devices=4"
check photo-sift-128 l2 float gt-l2.ivecs 64 32768 "platform=cuda kinds=bins,sort"
check w2v-gnews-300 ip float gt-ip.ivecs 1000 4096 "platform=cuda"
check w2v-gnews-300 ip float gt-ip.ivecs 500 1024 "platform=tpu devices=2"
