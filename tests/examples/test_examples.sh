# test_examples.sh - each example prints what its .out file says; vindex.h shows hello.c, line by
# line.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$VINDEX_SOURCE_DIR"

for expected in tests/examples/*.out; do
    name=$(basename "$expected" .out)
    "$VINDEX_BUILD_DIR/examples/$name" > "$work/output"
    diff "$expected" "$work/output" || { echo "examples/$name prints something else"; exit 1; }
done

# The program in the comment is what is indented by five spaces after its star.
awk '/A complete program/ { inside = 1 } / \* Every call/ { exit } inside' vindex/include/vindex.h |
    sed -n 's/^ \*     //p' > "$work/shown"
awk '/^{/ { inside = 1; next } /return 0;/ { exit } inside' tests/examples/hello.c |
    sed 's/^    //' > "$work/compiled"
test "$(wc -l < "$work/shown")" -ge 15 || { echo "found no program in vindex.h"; exit 1; }
diff "$work/shown" "$work/compiled" || { echo "vindex.h and hello.c differ"; exit 1; }
echo "examples print what they should; vindex.h shows hello.c"
