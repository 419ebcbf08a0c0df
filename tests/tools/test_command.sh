# test_command.sh - the command from end to end: every subcommand, exit codes, messages, and nothing
# half-made after a failure, a full disk or a signal.
#
# Uses VINDEX_BIN; real data (VINDEX_TEST_DATA or ../shared/data beside VINDEX_SOURCE_DIR) where present.
set -u
vindex=${VINDEX_BIN:?the command to test}
data=${VINDEX_TEST_DATA:-${VINDEX_SOURCE_DIR:-.}/../shared/data}
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
cd "$work" || exit 1
failures=0

failed() {
    echo "FAILED: $*" >&2
    sed 's/^/    /' err out 2>/dev/null | head -20 >&2
    failures=$((failures + 1))
}

# expect CODE WORDS COMMAND...: the exit code, and WORDS on standard error (or output, for code 0)
expect() {
    code=$1 words=$2
    shift 2
    "$@" >out 2>err
    got=$?
    if [ $got -ne "$code" ]; then
        failed "exit $got, expected $code: $*"
    elif [ "$code" -eq 0 ]; then
        grep -q -e "$words" out || failed "output lacks \"$words\": $*"
    else
        grep -q -e "$words" err || failed "message lacks \"$words\": $*"
        [ "$(grep -c '^vindex: ' err)" -ge 1 ] || failed "no line of the command's own: $*"
    fi
}

# equal A B: two files with the same bytes
equal() {
    cmp -s "$1" "$2" || failed "$1 and $2 differ"
}

# only NAME...: the folder holds these files and nothing else (but the tests' own out, err)
only() {
    rm -f out err
    left=$(ls -A | tr '\n' ' ')
    wanted=$(printf '%s\n' "$@" | sort | tr '\n' ' ')
    [ "$left" = "$wanted" ] || failed "files left: $left; expected: $wanted"
}

# ---- data: 500 rows of 12 whole numbers, reproducible, with names ----------------------------------

awk 'BEGIN { x = 1; for (i = 0; i < 500; i++) { line = "";
     for (j = 0; j < 12; j++) { x = (x * 16807) % 2147483647;
       line = line (j ? "," : "") int(x / 1000) % 100 } print line } }' >base.csv
head -20 base.csv >queries.csv
awk '{ print "row number " NR - 1 }' base.csv >names.txt

# ---- usage -------------------------------------------------------------------------------------------

expect 0 'usage: vindex' "$vindex" --help
expect 0 '^vindex [0-9]' "$vindex" --version
expect 2 'no command' "$vindex"
expect 2 'is no command' "$vindex" frobnicate
for name in build search eval info check convert export optimize bench; do
    expect 0 "usage: vindex $name" "$vindex" $name --help
    expect 0 "usage: vindex $name" "$vindex" help $name
    expect 2 'is no flag' "$vindex" $name --frobnicate
done
expect 2 'needs --output' "$vindex" build -i base.csv
expect 2 'needs --input' "$vindex" build -o a.vdx
expect 2 'needs a value' "$vindex" build -i
expect 2 'metric' "$vindex" build -i base.csv -o a.vdx --metric manhattan
expect 2 'layout' "$vindex" build -i base.csv -o a.vdx --layout heap
expect 2 'bytes' "$vindex" build -i base.csv -o a.vdx --max-memory lots
expect 2 'recall' "$vindex" build -i base.csv -o a.vdx --recall 1.2
expect 2 'does not expect' "$vindex" info a b
expect 2 'takes no value' "$vindex" info a --json=yes

# ---- build -------------------------------------------------------------------------------------------

expect 0 '500 rows of 12 x float32' "$vindex" build -i base.csv -o base.vdx
expect 0 '"rows":500,"dim":12' "$vindex" info base.vdx --json
expect 0 'sound' "$vindex" check base.vdx
expect 3 'exists' "$vindex" build -i base.csv -o base.vdx
expect 0 '500 rows' "$vindex" build -i base.csv -o base.vdx --force
expect 0 '"rows":1000' "$vindex" build base.csv -i base.csv -o twice.vdx --json --max-memory 1K --threads 2
expect 0 '"rows":1000' "$vindex" info twice.vdx --json
expect 3 'No such file' "$vindex" build -i missing.fvecs -o a.vdx
expect 3 'No such file' "$vindex" build -i base.csv -o no/such/folder/a.vdx
expect 3 'hamming' "$vindex" build -i base.csv -o a.vdx --metric hamming
printf '1,2\n3,nan\n' >nan.csv
expect 3 'nan' "$vindex" build -i nan.csv -o a.vdx
printf '1,2\n3,0.5\n' >half.csv
expect 3 '0.5' "$vindex" build -i half.csv -o a.vdx --type uint8
printf '1,2\n3\n' >ragged.csv
expect 3 'line 2' "$vindex" build -i ragged.csv -o a.vdx
printf 'id,a,b\n7,1,2\n7,3,4\n' >repeated.csv
expect 3 '7' "$vindex" build -i repeated.csv -o a.vdx
: >empty.fvecs
expect 3 'is empty' "$vindex" build -i empty.fvecs -o a.vdx
expect 3 'is a directory' "$vindex" build -i . -o a.vdx
expect 3 'dimension 2, the index has 12' "$vindex" build -i base.csv -i half.csv -o a.vdx
rm -f nan.csv half.csv ragged.csv repeated.csv empty.fvecs twice.vdx twice.vdx-lock
only base.csv base.vdx names.txt queries.csv # replacing takes the old lock file away

"$vindex" build -i - -o piped.vdx <base.csv >out 2>err || failed "build from standard input"
gzip -c base.csv >base.csv.gz
expect 0 '500 rows' "$vindex" build -i base.csv.gz -o packed.vdx --threads 2
for name in base piped packed; do
    "$vindex" export $name.vdx -o $name.out.fvecs >out 2>err || failed "export $name"
done
equal base.out.fvecs piped.out.fvecs
equal base.out.fvecs packed.out.fvecs

long=$(printf '%0240d' 0) && long=$long/$long/$long/$long # a path longer than any line the command prints
mkdir -p $long && expect 0 '500 rows' "$vindex" build -i base.csv -o $long/a.vdx
expect 0 'sound' "$vindex" check $long/a.vdx
expect 3 'exists' "$vindex" build -i base.csv -o $long/a.vdx

# ---- convert and export: what went in comes out --------------------------------------------------------

for format in fvecs bvecs fbin u8bin i8bin f16bin npy idx csv jsonl; do
    expect 0 '500 rows of 12' "$vindex" convert base.csv all.$format
    expect 0 '500 rows of 12' "$vindex" convert all.$format again.csv
    equal base.csv again.csv
    expect 0 '500 rows' "$vindex" build -i all.$format -o all.vdx --force
    expect 0 '500 rows' "$vindex" export all.vdx -o back.$format
    case $format in
    csv | jsonl) # the export has ids: it gives itself back
        expect 0 '500 rows' "$vindex" build -i back.$format -o all.vdx --force
        expect 0 '500 rows' "$vindex" export all.vdx -o again.$format
        equal back.$format again.$format ;;
    *) equal all.$format back.$format ;;
    esac
done
"$vindex" convert base.csv - --to-format fvecs >piped.fvecs 2>err || failed "convert to standard output"
equal all.fvecs piped.fvecs
expect 0 'int8' "$vindex" convert base.csv i8.npy --to-type int8
printf '1,300\n' >large.csv
expect 3 'row 0, value 1: the value 300 does not fit uint8' "$vindex" convert large.csv x.bvecs
expect 3 'asks for int8' "$vindex" convert base.csv x.fvecs --to-type int8
expect 3 'ending' "$vindex" convert base.csv x.parquet
expect 1 'No space' "$vindex" convert base.csv /dev/full --to-format fvecs
[ ! -e x.u8bin ] && [ ! -e x.bvecs ] && [ ! -e x.fvecs ] || failed "a failed convert left its output"

# every type an index can have; float32 rows are rounded or, for whole-number types, kept
for type in float float16 bfloat16 int8 uint8; do
    expect 0 '500 rows' "$vindex" build -i base.csv -o type.vdx --force --type $type
    expect 0 '500 rows' "$vindex" export type.vdx -o type.fvecs
    equal all.fvecs type.fvecs # whole numbers below 100 fit all of them
done
expect 0 '500 rows of 96 x bit, metric hamming' "$vindex" build -i all.bvecs -o type.vdx --force --type bit
expect 0 '500 rows of 12' "$vindex" export type.vdx -o type.bvecs
equal all.bvecs type.bvecs
expect 3 'packbits' "$vindex" build -i base.csv -o x.vdx --type bit

# ids: given beside the rows, and given back
awk '{ print "[" (NR * 7 - 1000) "]" }' base.csv >ids.jsonl
awk 'BEGIN { printf "id" } END { for (j = 0; j < 12; j++) printf ",v%d", j; print "" }' /dev/null >ids.csv
awk '{ print (NR * 7 - 1000) "," $0 }' base.csv >>ids.csv
expect 0 '500 rows' "$vindex" build -i ids.csv -o ids.vdx
expect 0 '500 rows' "$vindex" export ids.vdx -o ids.out.csv --ids ids.npy
equal ids.csv ids.out.csv
expect 0 '500 rows' "$vindex" build -i base.csv --ids ids.npy -o ids2.vdx
expect 0 '500 rows' "$vindex" export ids2.vdx -o ids2.out.csv
equal ids.csv ids2.out.csv
expect 3 'one id a row' "$vindex" build -i base.csv -i base.csv --ids ids.npy -o x.vdx
expect 3 'more ids' "$vindex" build -i queries.csv --ids ids.npy -o x.vdx
expect 3 'expected ids' "$vindex" build -i base.csv --ids base.csv -o x.vdx

# ---- search ------------------------------------------------------------------------------------------

expect 0 '^0 1 0 0$' "$vindex" search base.vdx -q queries.csv -k 3
[ "$(wc -l <out)" -eq 60 ] || failed "20 queries of 3 hits are not 60 lines"
cp out whole.txt
for batch in 1 7 1000; do
    expect 0 '^0 1 0 0$' "$vindex" search base.vdx -q queries.csv -k 3 --batch $batch --recall 1 --threads 2
    equal whole.txt out
done
"$vindex" search base.vdx -q - -k 3 <queries.csv >out 2>err || failed "queries from standard input"
equal whole.txt out
expect 0 '^19 1 19 0$' "$vindex" search base.vdx -q queries.csv -k 1 --offset 19
[ "$(wc -l <out)" -eq 1 ] || failed "--offset 19 of 20 queries gives more than one line"
expect 0 '{"query":0,"hits":\[{"id":0,"score":0,"text":"row number 0"}' \
    "$vindex" search base.vdx -q queries.csv -k 2 --limit 1 --json --text names.txt
expect 0 '^0 1 0 row number 0$' "$vindex" search base.vdx -q queries.csv -k 1 --text names.txt
"$vindex" search base.vdx -q queries.csv -k 4 --limit 1 >near.txt
expect 0 '^0 1 ' "$vindex" search base.vdx --like 0 -k 3
sed 's/^0 \([0-9]*\) /\1 /' out | awk '{ print "0 " $1 + 1 " " $2 " " $3 }' >like.txt
sed 1d near.txt >near3.txt
equal near3.txt like.txt # the row itself is left out
expect 0 '^0 1 ' "$vindex" search base.vdx --name 'row number 0' --text names.txt -k 3
expect 3 'is "nobody"' "$vindex" search base.vdx --name nobody --text names.txt
expect 3 '12345' "$vindex" search base.vdx --like 12345
expect 2 'needs either' "$vindex" search base.vdx
expect 2 'needs either' "$vindex" search base.vdx -q queries.csv --like 1
expect 2 'needs --text' "$vindex" search base.vdx --name x
expect 2 'k 0' "$vindex" search base.vdx -q queries.csv -k 0
expect 2 'recall' "$vindex" search base.vdx -q queries.csv --recall 0
expect 0 '^0 500 ' "$vindex" search base.vdx -q queries.csv --limit 1 -k 1000 # padded: 500 rows are there
[ "$(wc -l <out)" -eq 500 ] || failed "k beyond the index gives other than all rows"
expect 3 'No such file' "$vindex" search missing.vdx -q queries.csv
expect 3 'No such file' "$vindex" search base.vdx -q missing.csv
expect 3 'dimension 1, the index has 12' "$vindex" search base.vdx -q ids.jsonl
expect 3 'holds int64' "$vindex" search base.vdx -q ids.npy
expect 4 'base.csv' "$vindex" search base.csv -q queries.csv
expect 1 'No space' sh -c '"$0" search base.vdx -q queries.csv >/dev/full' "$vindex"
printf '{"id":3,"vector":[0,0,0,0,0,0,0,0,0,0,0,1e999]}\n' >infinite.jsonl
expect 3 'infinite.jsonl' "$vindex" search base.vdx -q infinite.jsonl

printf '1,1,1,1,1,1,1,1,1,1,1,1\n' >one.csv
"$vindex" convert ids.npy few.npy --limit 3 >/dev/null && "$vindex" search ids.vdx -q one.csv --filter-ids few.npy >out 2>err
[ "$(awk '{ print $3 }' out | sort -n | tr '\n' ' ')" = "-993 -986 -979 " ] || failed "--filter-ids lets other rows pass"

# ---- eval --------------------------------------------------------------------------------------------

"$vindex" search base.vdx -q queries.csv -k 10 --recall 1 -o truth.ivecs >out 2>err || failed "hits to a file"
expect 0 '"recall":1.000000' "$vindex" eval base.vdx -q queries.csv -g truth.ivecs -k 10 --recall 1 --json
keys=$(tr ',{' '\n\n' <out | sed -n 's/^"\([a-z0-9_]*\)":.*/\1/p' | tr '\n' ' ')
[ "$keys" = "k recall_target recall qps p50_us p99_us batch threads isa layout plan state basis audits predicted bound measured effort n_exact n_proven n_assumed " ] || failed "eval's keys: $keys"
expect 0 '"threads":2' "$vindex" eval base.vdx -q queries.csv -g truth.ivecs --recall 0.9,1 --batch 1,8 --threads 1,2 --json
[ "$(wc -l <out)" -eq 8 ] || failed "2 targets, 2 batches and 2 thread counts are not 8 lines"
expect 0 '^ *10 ' "$vindex" eval base.vdx -q queries.csv -g truth.ivecs
# a truth of other queries: hits nearer than its k-th count by the rule, so the command must say so
"$vindex" search base.vdx -q queries.csv -k 10 --offset 10 -o late.ivecs >out 2>err
"$vindex" search base.vdx -q queries.csv -k 10 --limit 10 -o early.ivecs >out 2>err
expect 0 '"recall"' "$vindex" eval base.vdx -q queries.csv -g late.ivecs --limit 10 --json
grep -q 'it is not the truth' err || failed "a wrong truth goes unnoticed"
expect 0 '"recall":1.000000' "$vindex" eval base.vdx -q queries.csv -g early.ivecs --limit 10 --json
[ ! -s err ] || failed "the right truth is doubted"
expect 3 'give --limit 10' "$vindex" eval base.vdx -q queries.csv -g early.ivecs
expect 3 'has 10 ids a query, k is 11' "$vindex" eval base.vdx -q queries.csv -g truth.ivecs -k 11
expect 3 'expected ids' "$vindex" eval base.vdx -q queries.csv -g all.fvecs
expect 3 'no row' "$vindex" eval ids.vdx -q queries.csv -g truth.ivecs
expect 2 'needs --truth' "$vindex" eval base.vdx -q queries.csv

# ---- optimize, check, bench ------------------------------------------------------------------------------

expect 0 '500 rows' "$vindex" optimize base.vdx --all
expect 0 '"rows":500' "$vindex" optimize base.vdx --json
expect 0 '"rows":500' "$vindex" optimize base.vdx --all --threads 2 --json
expect 2 'expected' "$vindex" optimize base.vdx --threads 0
expect 2 'expected' "$vindex" optimize base.vdx --threads 1025
expect 0 'sound' "$vindex" check base.vdx
expect 3 'No such file' "$vindex" check missing.vdx
expect 4 'base.csv' "$vindex" check base.csv
cp base.vdx bad.vdx
size=$(wc -c <bad.vdx) # all but LMDB's two meta pages
dd if=/dev/zero of=bad.vdx bs=4096 seek=2 count=$((size / 4096 - 2)) conv=notrunc 2>/dev/null
"$vindex" check bad.vdx >out 2>err
[ $? -eq 4 ] || failed "check of a damaged index does not end with 4"
expect 0 '"ratio":[0-9.]*,"recall":1.0' "$vindex" bench scan --n 2000 --dim 16 --json --recall 1
expect 0 'ratio' "$vindex" bench scan base.vdx
expect 2 'expected scan' "$vindex" bench sort

# ---- signals: nothing half-made, and the shell sees the signal ---------------------------------------------

mkdir signals && cd signals || exit 1
mkfifo pipe
interrupted() { # SIGNAL CODE COMMAND...: interrupt it while it waits for more rows
    signal=$1 code=$2
    shift 2
    env --default-signal=INT "$@" >out 2>err &
    child=$!
    exec 3>pipe
    cat ../base.csv >&3
    sleep 0.3
    kill -s "$signal" $child
    wait $child 2>/dev/null # the shell would mention the signal
    got=$?
    exec 3>&-
    [ $got -eq "$code" ] || failed "$signal ends with $got, expected $code: $*"
    grep -q interrupted err || failed "$signal is not mentioned: $*"
    only pipe
}
if env --default-signal=INT true 2>/dev/null; then
    interrupted INT 130 "$vindex" build -i pipe --format csv -o cut.vdx
    interrupted TERM 143 "$vindex" build -i pipe --format csv -o cut.vdx --threads 2
    interrupted INT 130 "$vindex" convert pipe cut.npy --format csv
fi
mkdir locked && chmod 555 locked
if ! touch locked/probe 2>/dev/null; then # root may write everywhere
    expect 1 'ermission' "$vindex" build -i ../base.csv -o locked/a.vdx
    expect 1 'ermission' "$vindex" convert ../base.csv locked/a.npy
fi
cd ..

# ---- real data -----------------------------------------------------------------------------------------

real=$data/w2v-gnews-300
if [ -r "$real/base.fvecs" ]; then
    expect 0 '7000 rows of 300 x float32' "$vindex" build -i "$real/base.fvecs" -o words.vdx --metric cosine
    expect 0 'French$' "$vindex" search words.vdx --name Paris --text "$real/base.txt.gz" -k 1
    expect 0 '"recall":1.000000' "$vindex" eval words.vdx -q "$real/queries.fvecs" -g "$real/gt-cos.ivecs" \
        --recall 1 --batch 100 --limit 200 --json
    expect 0 '7000 rows' "$vindex" build -i "$real/base.fvecs" -o words.vdx --metric ip --force
    expect 0 '"recall":1.000000' "$vindex" eval words.vdx -q "$real/queries.fvecs" -g "$real/gt-ip.ivecs" \
        --recall 1 --batch 100 --limit 200 --json
else
    echo "no real data at $data: that part is skipped"
fi

[ $failures -eq 0 ] || exit 1
echo "all passed"
