# test_transactions.sh - random transactions, two connections and killed processes: a virtual table and an ordinary
# one, written in the same transactions, always agree.
set -eu
. "$VINDEX_SOURCE_DIR/tests/sqlite_ext/find_tools.sh"
"$python" "$here/transactions.py" "$extension" model 150 "$seed"
"$python" "$here/transactions.py" "$extension" kill 10 "$seed"
