# test_slow_transactions.sh - 1,000 random transactions and 300 killed processes.
set -eu
. "$VINDEX_SOURCE_DIR/tests/sqlite_ext/find_tools.sh"
"$python" "$here/transactions.py" "$extension" model 1000 "$seed"
"$python" "$here/transactions.py" "$extension" kill 300 "$seed"
