# test_statements.sh - random statements on a virtual table equal the same in plain SQL on an ordinary one.
set -eu
. "$VINDEX_SOURCE_DIR/tests/sqlite_ext/find_tools.sh"
"$python" "$here/statements.py" "$extension" 1500 "$seed"
