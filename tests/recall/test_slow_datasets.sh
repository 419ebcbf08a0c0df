# test_slow_datasets.sh - the real data sets of ../shared/data: recall 1 over all queries in batches and one by one,
# and the same hits with the same score bits at every instruction-set level, batch size and thread count.
#
# VINDEX_TEST_DATA names another place of the data. Without data the test is skipped.
set -eu

data=${VINDEX_TEST_DATA:-$VINDEX_SOURCE_DIR/../shared/data}
if [ ! -d "$data" ]; then
    echo "skipped: no data sets in $data"
    exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
failures=0

fail() {
    echo "FAILED: $*"
    failures=$((failures + 1))
}

# name metric base queries truth limit-of-single-queries
sets() {
    cat <<LIST
mnist-784 l2 train-images-idx3-ubyte.gz t10k-images-idx3-ubyte.gz gt-l2.ivecs 200
photo-sift-128 l2 base.bvecs.gz queries.bvecs.gz gt-l2.ivecs 500
w2v-gnews-300 cosine base.fvecs queries.fvecs gt-cos.ivecs 1000
w2v-gnews-300 ip base.fvecs queries.fvecs gt-ip.ivecs 1000
trivia-lsa-256 cosine base.fvecs queries.fvecs gt-cos.ivecs 200
bright-bge-1024 cosine base.fvecs queries.fvecs gt-cos.ivecs 138
lvis-clip-512 ip base.fvecs queries.fvecs gt-ip.ivecs 865
LIST
}

evaluate() { # name index queries truth batch limit
    line=$("$VINDEX_BIN" eval "$2" -q "$3" -g "$4" -k 10 --recall 1 --batch "$5" --limit "$6" --json)
    echo "$1: $line"
    case $line in
    *'"recall":1.0000'*) ;;
    *) fail "$1: recall below 1 in batches of $5" ;;
    esac
}

same_answers() { # name index queries
    n=40
    VINDEX_ISA=ref "$VINDEX_BIN" search "$2" -q "$3" -k 10 --recall 1 --limit $n --batch $n > "$work/ref"
    [ -s "$work/ref" ] || fail "$1: no answer at level ref"
    for isa in ref avx2 avx512 amx; do
        for batch in 1 7 $n; do
            for threads in 1 2; do
                VINDEX_ISA=$isa "$VINDEX_BIN" search "$2" -q "$3" -k 10 --recall 1 --limit $n \
                    --batch $batch --threads $threads > "$work/other"
                cmp -s "$work/ref" "$work/other" ||
                    fail "$1: other hits at level $isa, batch $batch, $threads threads"
            done
        done
    done
}

sets > "$work/sets"
while read -r name metric base queries truth limit; do
    if [ ! -f "$data/$name/$base" ]; then
        echo "$name: not there"
        continue
    fi
    index=$work/$name-$metric.vdx
    "$VINDEX_BIN" build -i "$data/$name/$base" -o "$index" --metric "$metric" 2> /dev/null
    evaluate "$name $metric" "$index" "$data/$name/$queries" "$data/$name/$truth" 1000 10000
    evaluate "$name $metric" "$index" "$data/$name/$queries" "$data/$name/$truth" 1 "$limit"
    same_answers "$name $metric" "$index" "$data/$name/$queries"
    "$VINDEX_BIN" check "$index" || fail "$name $metric: check"
    rm -f "$index" "$index-lock"
done < "$work/sets"

[ "$failures" -eq 0 ] && echo "all data sets agree"
exit "$((failures > 0))"
