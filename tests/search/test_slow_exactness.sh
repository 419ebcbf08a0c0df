# test_slow_exactness.sh - test_exactness over more random shapes than a fast test has time for.
set -eu

VINDEX_TEST_TRIALS=4 "$VINDEX_BUILD_DIR/tests/search/test_exactness"
