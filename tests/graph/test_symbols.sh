# test_symbols.sh - libvindex.so exports what the public headers declare and vindex.map lists, no
# more.
set -eu
cd "$VINDEX_SOURCE_DIR"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# A declaration runs from VINDEX_API to its semicolon; the first word before a bracket is its name.
awk '/^VINDEX_API/ { text = "" } { text = text " " $0 }
     /^VINDEX_API/, /;/ { if (/;/ && match(text, /vindex_[a-z0-9_]+\(/))
         print substr(text, RSTART, RLENGTH - 1) }' vindex/include/*.h | sort > "$work/declared"
sed -n 's/^ *\(vindex_[a-z0-9_]*\);.*/\1/p' vindex/vindex.map | sort > "$work/listed"
nm -D --defined-only "$VINDEX_BUILD_DIR/lib/libvindex.so" |
    awk '$2 != "A" { sub(/@.*/, "", $3); print $3 }' | sort > "$work/exported"

test "$(wc -l < "$work/declared")" -ge 30 || { echo "found too few declarations"; exit 1; }
diff "$work/declared" "$work/listed" ||
    { echo "< declared in vindex/include, > listed in vindex.map"; exit 1; }
diff "$work/declared" "$work/exported" ||
    { echo "< declared in vindex/include, > exported by libvindex.so"; exit 1; }
echo "$(wc -l < "$work/exported") symbols are declared, listed and exported"
