# test_headers.sh - every header compiles alone; the public ones also as C++17. (Those in
# kernels/x86 and so on are parts of kernels: they need an instruction set, and the build tries
# them.)
set -eu
cd "$VINDEX_SOURCE_DIR"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
strict="-Wall -Wextra -Wpedantic -Wshadow -Werror -fsyntax-only"

for header in vindex/*/*.h kernels/*.h kernels/pjrt/*.h; do
    printf '#include "%s"\nint used;\n' "$header" > "$work/alone.c"
    $VINDEX_CC -std=c11 -D_GNU_SOURCE $strict -I. -Ivindex -Ivindex/include "$work/alone.c" ||
        { echo "$header does not compile alone"; exit 1; }
done

for header in vindex/include/*.h; do
    printf '#include "%s"\nint used;\n' "$header" > "$work/public.c"
    cp "$work/public.c" "$work/public.cpp"
    $VINDEX_CC -std=c11 $strict -I. "$work/public.c"
    if command -v c++ > /dev/null; then
        c++ -std=c++17 $strict -I. "$work/public.cpp"
    else
        echo "no c++: $header was not compiled as C++"
    fi
done

# The initialisers are designated, which C++17 compilers take as an extension.
if command -v c++ > /dev/null; then
    cat > "$work/use.cpp" <<'END'
#include "vindex.h"
int main()
{
    vindex_create_options create = VINDEX_CREATE_OPTIONS_INIT;
    vindex_search_options search = VINDEX_SEARCH_OPTIONS_INIT;
    return create.struct_size + search.struct_size == 0;
}
END
    c++ -std=c++17 -Wall -Werror -fsyntax-only -Ivindex/include "$work/use.cpp"
fi
echo "every header compiles alone"
