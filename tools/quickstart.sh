#!/bin/sh
# quickstart.sh - from a fresh checkout to a first answer: installs what is missing, builds, indexes
# the sample of 256 names in tests/data, and asks it with the command, with a C program and in SQL.
set -eu
cd "$(dirname "$0")/.."
name=${1:-cat}

# ---- what the build needs ----------------------------------------------------------------------

missing=""
need() { missing="$missing $1"; }
has_header() { echo "#include <$1>" | cc -E -x c - > /dev/null 2>&1; }

command -v cmake > /dev/null || need cmake
command -v make > /dev/null || need make
command -v cc > /dev/null || need "gcc libc6-dev"
has_header lmdb.h || need liblmdb-dev
has_header zlib.h || need zlib1g-dev
has_header sqlite3ext.h || need libsqlite3-dev
command -v sqlite3 > /dev/null || need sqlite3
if [ -n "$missing" ]; then
    if [ "$(id -u)" -eq 0 ] && command -v apt-get > /dev/null; then
        echo "installing$missing"
        apt-get update -q > /dev/null
        DEBIAN_FRONTEND=noninteractive \
            apt-get install -q -y --no-install-recommends $missing > /dev/null
    else
        echo "quickstart: these packages are missing; install them and run this again:" >&2
        echo "    sudo apt-get install$missing" >&2
        exit 1
    fi
fi

# ---- build -------------------------------------------------------------------------------------

echo "building in build/"
log=build/quickstart.log
mkdir -p build
if ! cmake --preset release -DVINDEX_BUILD_TESTS=OFF > "$log" 2>&1 ||
    ! cmake --build build -j "$(nproc)" >> "$log" 2>&1; then
    tail -n 30 "$log" >&2
    echo "quickstart: the build failed; all of it is in $log" >&2
    exit 1
fi
cc -std=c11 -Ivindex/include tests/examples/nearest.c -o build/nearest -Lbuild/lib -lvindex \
    -Wl,-rpath,"$PWD/build/lib"

# ---- ask ---------------------------------------------------------------------------------------

rm -f build/names.vdx build/names.vdx-lock
echo
echo "\$ vindex build -i tests/data/sample.fvecs -o build/names.vdx --metric cosine"
build/bin/vindex build -i tests/data/sample.fvecs -o build/names.vdx --metric cosine
echo
echo "What is nearest to \"$name\"? The command says:"
echo "\$ vindex search build/names.vdx --name \"$name\" --text tests/data/sample.txt -k 6"
build/bin/vindex search build/names.vdx --name "$name" --text tests/data/sample.txt -k 6
echo
echo "and a C program (tests/examples/nearest.c):"
build/nearest "$name"
echo
echo "and SQL, in the sqlite3 shell with build/ext/vindex (rows of a .fvecs file: 4 bytes of dim, 512 floats):"
build_sql="
.load build/ext/vindex
CREATE VIRTUAL TABLE names USING vindex(embedding FLOAT[512] metric=cosine, +name TEXT);
CREATE TEMP TABLE lines(name TEXT);
.import tests/data/sample.txt lines
INSERT INTO names(rowid, embedding, name)
    SELECT rowid, substr(readfile('tests/data/sample.fvecs'), (rowid - 1) * 2052 + 5, 2048), name FROM lines;
"
ask_sql="SELECT name, round(score, 3) FROM names
    WHERE embedding MATCH (SELECT embedding FROM names WHERE name = :name)
    ORDER BY score LIMIT 6;"
echo "$ask_sql"
quoted=$(printf '%s' "$name" | sed "s/'/''/g")
printf '%s\n.parameter init\n.parameter set :name "'"'"'%s'"'"'"\n%s\n' "$build_sql" "$quoted" "$ask_sql" | sqlite3
