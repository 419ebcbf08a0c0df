# test_command.sh - the command with --device: the same hits as without, the device in the plan, and a word on
# standard error where the CPU answers in its place.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
device=pjrt:$VINDEX_PJRT_PLUGINS/good.so

awk 'BEGIN { srand(7); for (i = 0; i < 2000; i++) { line = i; for (d = 0; d < 8; d++) line = line "," rand()
             print line } }' > "$work/base.csv"
head -50 "$work/base.csv" > "$work/queries.csv"
"$VINDEX_BIN" build -i "$work/base.csv" -o "$work/x.vdx" --metric l2 > /dev/null
search()
{
    "$VINDEX_BIN" search "$work/x.vdx" -q "$work/queries.csv" -k 5 --recall 1 "$@"
}
search > "$work/cpu.txt"
test "$(wc -l < "$work/cpu.txt")" -ge 50 || { echo "too few hits"; exit 1; }

search --device "$device,required" > "$work/device.txt"
cmp "$work/cpu.txt" "$work/device.txt"

search -o "$work/truth.ivecs" > /dev/null
"$VINDEX_BIN" eval "$work/x.vdx" -q "$work/queries.csv" -g "$work/truth.ivecs" -k 5 --recall 0.9,1 \
    --batch 10 --device "$device" --json > "$work/eval.json"
grep -q '"recall_target":1,"recall":1.000000,.*exact: device Test device 0' "$work/eval.json" ||
    { echo "no exact answer of the device in:"; cat "$work/eval.json"; exit 1; }

VINDEX_PJRT_PLUGIN=${device#pjrt:} search > "$work/env.txt"
cmp "$work/cpu.txt" "$work/env.txt"

VINDEX_PJRT_TEST=fault=Execute search --device "$device" > "$work/fault.txt" 2> "$work/fault.err"
cmp "$work/cpu.txt" "$work/fault.txt"
grep -q "INTERNAL.*searches go on on the cpu" "$work/fault.err" || { cat "$work/fault.err"; exit 1; }

if VINDEX_PJRT_TEST=fault=Execute search --device "$device,required" > /dev/null 2> "$work/required.err"; then
    echo "a device that was required failed without an error"
    exit 1
fi
grep -q "injected into Execute" "$work/required.err"
status=0
search --device tpu > /dev/null 2> "$work/text.err" || status=$?
test $status -eq 3 || { echo "an unknown device ends with $status"; exit 1; }
grep -q "expected cpu or pjrt" "$work/text.err"
echo "the command searches on a device"
