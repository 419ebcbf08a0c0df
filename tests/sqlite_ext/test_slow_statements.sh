# test_slow_statements.sh - 20,000 random statements on the system's SQLite, and the first 8,000 of them on the newer
# SQLites inside two Node packages, where npm can fetch them (NODE_PATH may point at installed ones).
set -eu
. "$VINDEX_SOURCE_DIR/tests/sqlite_ext/find_tools.sh"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$python" "$here/statements.py" "$extension" 20000 "$seed" "$work/dump.jsonl"

command -v node > /dev/null || { echo "no node: only the system's SQLite was tried"; exit 0; }
# Packages that are compiled here need not be fast: their SQLite alone takes minutes to optimise.
export CFLAGS=-O1 CXXFLAGS=-O0 JOBS=2
cp "$here/replay.js" "$work"
head -n 8000 "$work/dump.jsonl" > "$work/first.jsonl"
cd "$work"
for package in better-sqlite3 libsql; do
    if ! node -e "new (require('$package'))(':memory:')" 2> /dev/null &&
        ! { command -v npm > /dev/null && timeout 300 npm install --no-save "$package" > npm.log 2>&1 &&
            node -e "new (require('$package'))(':memory:')" 2> /dev/null; }; then
        echo "npm package $package cannot be had here: that SQLite was not tried"
        continue
    fi
    node replay.js "$package" "$extension.so" first.jsonl
done
