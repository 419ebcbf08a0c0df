# test_slow_memory.sh - every single allocation of (nearly) every scenario fails.
set -eu
[ -x "$VINDEX_BUILD_DIR/tests/sqlite_ext/test_memory" ] || { echo "skipped: not built"; exit 77; }
VINDEX_TEST_EVERY=1 "$VINDEX_BUILD_DIR/tests/sqlite_ext/test_memory"
