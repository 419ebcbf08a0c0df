# test_readme.sh - every statement of sqlite_ext/README.md does what it says, in Python and in the sqlite3 shell.
set -eu
. "$VINDEX_SOURCE_DIR/tests/sqlite_ext/find_tools.sh"
"$python" "$here/readme.py" "$extension" "$VINDEX_SOURCE_DIR/sqlite_ext/README.md"
if command -v sqlite3 > /dev/null; then
    "$python" "$here/readme.py" "$extension" "$VINDEX_SOURCE_DIR/sqlite_ext/README.md" sqlite3
else
    echo "no sqlite3 shell: only Python was tried"
fi
