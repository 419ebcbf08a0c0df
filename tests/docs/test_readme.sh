# test_readme.sh - the code of README.md works, and prints what README.md shows.
#
# A block ```c is compiled and run; a block ```sh is run in an empty directory, shared by all of
# them, with the build's `vindex` in PATH and the tree's tests/ beside it; a block ```sql goes to the
# sqlite3 shell with the extension loaded, where there is one. A block ```text right after one of
# them is its output. Blocks of other kinds are for the eye.
set -eu
if [ -n "$VINDEX_SANITIZE" ]; then
    echo "skipped: the programs shown are not linked with a sanitizer"
    exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir "$work/blocks" "$work/place"
ln -s "$VINDEX_SOURCE_DIR/tests" "$work/place/tests"
PATH="$VINDEX_BUILD_DIR/bin:$PATH"
export PATH LD_LIBRARY_PATH="$VINDEX_BUILD_DIR/lib"

# Blocks become 01.c, 02.sh, ...; the output that follows block 02 becomes 02.text.
awk -v directory="$work/blocks" '
/^```/ && !file {
    kind = substr($0, 4)
    if (kind == "text" && last) file = last ".text"
    else if (kind == "c" || kind == "sh" || kind == "sql") {
        last = sprintf("%s/%02d", directory, ++n)
        file = last "." kind
    } else { file = "/dev/null"; last = "" }
    next
}
/^```/ { if (file != "/dev/null") close(file); file = ""; if (kind == "text") last = ""; next }
file { print > file; next }
NF { last = "" }
' "$VINDEX_SOURCE_DIR/README.md"

n_run=0
for block in "$work"/blocks/*.c "$work"/blocks/*.sh "$work"/blocks/*.sql; do
    test -f "$block" || continue
    stem=${block%.*}
    case "$block" in
    *.c)
        $VINDEX_CC -std=c11 -Wall -Wextra -Werror -I"$VINDEX_SOURCE_DIR/vindex/include" "$block" \
            -o "$stem.program" -L"$VINDEX_BUILD_DIR/lib" -lvindex
        run="$stem.program"
        ;;
    *.sql)
        command -v sqlite3 > /dev/null && test -f "$VINDEX_BUILD_DIR/ext/vindex.so" || continue
        echo "sqlite3 -bail -cmd '.load $VINDEX_BUILD_DIR/ext/vindex' :memory: < $block" > "$stem.run"
        run="sh -e $stem.run"
        ;;
    *) run="sh -e $block" ;;
    esac
    (cd "$work/place" && $run) > "$stem.output" || { echo "failed:"; cat "$block"; exit 1; }
    n_run=$((n_run + 1))
    test -f "$stem.text" || continue
    diff "$stem.text" "$stem.output" || { echo "< shown, > printed by:"; cat "$block"; exit 1; }
done
test "$n_run" -ge 2 || { echo "found $n_run blocks to run"; exit 1; }
echo "$n_run blocks of README.md run"
