# find_tools.sh - sourced by the scripts here: where the extension is, and a Python that may load it.
extension=$VINDEX_BUILD_DIR/ext/vindex
seed=${VINDEX_TEST_SEED:-$(date +%s)}
here=$VINDEX_SOURCE_DIR/tests/sqlite_ext

skip()
{
    echo "skipped: $1"
    exit 77
}

[ -f "$extension.so" ] || skip "the extension was not built"
python=""
for candidate in /usr/bin/python3 python3; do
    if "$candidate" -c '
import sqlite3
sqlite3.connect(":memory:").enable_load_extension(True)
assert sqlite3.sqlite_version_info >= (3, 38)' 2> /dev/null; then
        python=$candidate
        break
    fi
done
[ -n "$python" ] || skip "no python3 whose sqlite3 loads extensions"
if [ -n "${VINDEX_SANITIZE:-}" ]; then
    skip "built with sanitizers: a Python without them cannot load it (the C tests here do)"
fi
