# test_includes.sh - the graph of includes: which folder may know which. A bad arrow is one line of
# output.
#
# The rows below are the whole graph. `public` is vindex/include.
# A third-party header has one owner. An arrow may be narrowed to fewer headers by the last list.
set -eu

allowed='
vindex/include  public
vindex/base     public base
kernels         kernels
vindex/topk     public base kernels topk
vindex/storage  public base storage
vindex/ingest   public base kernels topk storage ingest
vindex/search   public base kernels topk storage search
vindex/api      public base kernels topk storage ingest search api
tools           public tools
sqlite_ext      public storage sqlite_ext
tests/examples  public
'
owners='
<lmdb.h>    vindex/storage
<zlib.h>    tools
<dlfcn.h>   kernels
<sqlite3.h> sqlite_ext
<sqlite3ext.h> sqlite_ext
<cblas.h>   none
'
# search reads snapshots, never a catalog; the extension brings its own catalog and blocks.
forbidden='
vindex/search storage/catalog
sqlite_ext    storage/(snapshot|store|check)
'

# Prints "file includes what: why" for each bad arrow under a tree.
bad_arrows()
{
    (cd "$1" && find vindex kernels tools sqlite_ext tests/examples -name '*.[ch]' 2> /dev/null |
        sort | xargs grep -HE '^[[:space:]]*#[[:space:]]*include' |
        awk -v allowed="$allowed" -v owners="$owners" -v forbidden="$forbidden" '
    function folder_of(file,    parts)
    {
        split(file, parts, "/")
        return parts[1] == "vindex" || parts[1] == "tests" ? parts[1] "/" parts[2] : parts[1]
    }
    # The folder a quoted name lies in, in the words of the table.
    function target_of(name, file, folder,    here, first)
    {
        if (name ~ /^vindex(_topk)?\.h$/) return "public"
        here = file
        sub("[^/]*$", "", here)
        if (system("test -f " here name) == 0) return word_of(folder)
        first = name
        sub("/.*", "", first)
        if (name ~ /\//) return folder == "tools" && first == "readers" ? "tools" : first
        return system("test -f " folder "/" name) == 0 ? word_of(folder) : "nothing of the project"
    }
    function word_of(folder)
    {
        sub(".*/", "", folder)
        return folder == "include" ? "public" : folder
    }
    BEGIN {
        n = split(allowed, lines, "\n")
        for (i = 1; i <= n; i++) {
            m = split(lines[i], words, " ")
            for (j = 2; j <= m; j++) may[words[1], words[j]] = 1
        }
        n = split(owners, lines, "\n")
        for (i = 1; i <= n; i++) if (split(lines[i], words, " ") == 2) owner[words[1]] = words[2]
        n_forbidden = split(forbidden, narrowed, "\n")
    }
    {
        file = $0
        sub(":.*", "", file)
        what = $0
        sub(/^[^:]*:[^<"]*/, "", what)
        sub(/[^>"]*$/, "", what)
        folder = folder_of(file)
        if (what ~ /^</) {
            if (what ~ /^<vindex/ && folder == "tests/examples") next
            if (what ~ /^<vindex/) print file " includes " what ": ours are quoted"
            if (what in owner && owner[what] != folder)
                print file " includes " what ": only " owner[what] " may"
            next
        }
        gsub(/"/, "", what)
        target = target_of(what, file, folder)
        if (!((folder, target) in may))
            print file " includes " what ": " folder " may not know " target
        for (i = 1; i <= n_forbidden; i++)
            if (split(narrowed[i], words, " ") == 2 && words[1] == folder && what ~ "^" words[2])
                print file " includes " what ": " folder " may not know this header"
    }')
}

bad=$(bad_arrows "$VINDEX_SOURCE_DIR")
if [ -n "$bad" ]; then
    echo "$bad"
    exit 1
fi

# The check itself: each planted arrow must be found.
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
plant()
{
    mkdir -p "$work/tree/$(dirname "$1")"
    echo "#include $2" > "$work/tree/$1"
    found=$(bad_arrows "$work/tree")
    rm -r "$work/tree"
    case "$found" in
    "$1 includes "*) test "$3" = bad || { echo "a good arrow was refused: $found"; exit 1; } ;;
    "") test "$3" = good || { echo "missed: $1 includes $2"; exit 1; } ;;
    *) echo "unexpected: $found"; exit 1 ;;
    esac
}
plant kernels/x86/a.c '"base/mem.h"' bad
plant kernels/x86/a.c '"kernels/kernels.h"' good
plant kernels/ref/a.c '"storage/blocks.h"' bad
plant vindex/topk/a.c '"storage/snapshot.h"' bad
plant vindex/topk/a.c '"kernels/kernels.h"' good
plant vindex/storage/a.c '"kernels/kernels.h"' bad
plant vindex/storage/a.c '"search/search.h"' bad
plant vindex/storage/a.c '<lmdb.h>' good
plant vindex/ingest/a.c '<lmdb.h>' bad
plant vindex/search/a.c '"storage/catalog.h"' bad
plant vindex/search/a.c '"storage/snapshot.h"' good
plant vindex/search/a.c '"ingest/ingest.h"' bad
plant vindex/base/a.c '"topk/topk.h"' bad
plant tools/a.c '"base/mem.h"' bad
plant tools/readers/a.c '"vindex.h"' good
plant tests/examples/a.c '"base/mem.h"' bad
plant vindex/api/a.c '"nowhere.h"' bad
echo "the include graph holds"
