# test_slow_hostile.sh - 10,000 mutations of shadow tables (VINDEX_TEST_MUTATIONS: another number; 50,000 take five
# minutes).
set -eu
[ -x "$VINDEX_BUILD_DIR/tests/sqlite_ext/test_hostile" ] || { echo "skipped: not built"; exit 77; }
VINDEX_TEST_MUTATIONS=${VINDEX_TEST_MUTATIONS:-10000} "$VINDEX_BUILD_DIR/tests/sqlite_ext/test_hostile"
