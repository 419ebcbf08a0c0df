# test_load.sh - the extension loads by file name and by entry point, exports nothing else, starts no thread.
set -eu
. "$VINDEX_SOURCE_DIR/tests/sqlite_ext/find_tools.sh"
exported=$(nm -D --defined-only "$extension.so" | awk '{ print $NF }')
[ "$exported" = sqlite3_vindex_init ] || { echo "exported: $exported"; exit 1; }
"$python" - "$extension" <<'END'
import os, sqlite3, sys
db = sqlite3.connect(":memory:")
db.enable_load_extension(True)
before = len(os.listdir("/proc/self/task")) if os.path.isdir("/proc/self/task") else 0
db.load_extension(sys.argv[1])
db.execute("CREATE VIRTUAL TABLE t USING vindex(v FLOAT[2])")
db.execute("INSERT INTO t(v) VALUES('[1, 2]')")
assert db.execute("SELECT rowid FROM t('[1, 1]')").fetchall() == [(1,)]
after = len(os.listdir("/proc/self/task")) if before else 0
assert before == after, (before, after)
END
if command -v sqlite3 > /dev/null; then
    printf '.load %s sqlite3_vindex_init\nSELECT vindex_version();\n' "$extension" | sqlite3 -bail > /dev/null
fi
