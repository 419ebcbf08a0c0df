# test_slow_hosts.sh - on real embeddings the three forms of a question, in Python and in the sqlite3 shell, give the C
# API's hits and scores, bit for bit. VINDEX_TEST_QUERIES: of each set (default 100; 10000 are all, and take half an hour).
set -eu
. "$VINDEX_SOURCE_DIR/tests/sqlite_ext/find_tools.sh"
[ -x "$VINDEX_BUILD_DIR/tests/sqlite_ext/test_slow_data" ] || skip "test_slow_data was not built"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
status=0
VINDEX_TEST_ANSWERS=$work VINDEX_TEST_QUERIES=${VINDEX_TEST_QUERIES:-100} \
    "$VINDEX_BUILD_DIR/tests/sqlite_ext/test_slow_data" > "$work/log" 2>&1 || status=$?
[ "$status" -ne 77 ] || skip "no data sets"
[ "$status" -eq 0 ] || { cat "$work/log"; exit 1; }
shell=$(command -v sqlite3 || true)
[ -n "$shell" ] || echo "no sqlite3 shell: only Python was tried"
"$python" "$here/hosts.py" "$extension" "$work" $shell
