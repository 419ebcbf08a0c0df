# test_install.sh - an installed tree, moved elsewhere, serves find_package and pkg-config, shared
# and static.
set -eu
if [ -n "$VINDEX_SANITIZE" ]; then
    echo "skipped: a sanitized library serves only sanitized programs"
    exit 77
fi
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
hello="$VINDEX_SOURCE_DIR/tests/examples/hello.c"
expected=$(cat "$VINDEX_SOURCE_DIR/tests/examples/hello.out")

check()
{
    output=$("$1")
    test "$output" = "$expected" || { echo "$1 printed: $output"; exit 1; }
    echo "$1: $output"
}

cmake --install "$VINDEX_BUILD_DIR" --prefix "$work/made" > "$work/install.log"
mv "$work/made" "$work/prefix"
lib=$(dirname "$(find "$work/prefix" -name libvindex.so)")

mkdir "$work/consumer"
cp "$hello" "$work/consumer/hello.c"
cat > "$work/consumer/CMakeLists.txt" <<'END'
cmake_minimum_required(VERSION 3.21)
project(consumer LANGUAGES C)
find_package(vindex 0.1 REQUIRED)
add_executable(with_shared hello.c)
target_link_libraries(with_shared PRIVATE vindex::vindex)
add_executable(with_static hello.c)
target_link_libraries(with_static PRIVATE vindex::static)
END
cmake -S "$work/consumer" -B "$work/consumer/build" -DCMAKE_C_COMPILER="$VINDEX_CC" \
    -DCMAKE_PREFIX_PATH="$work/prefix" > "$work/consumer.log"
cmake --build "$work/consumer/build" >> "$work/consumer.log" ||
    { cat "$work/consumer.log"; exit 1; }
check "$work/consumer/build/with_shared"
check "$work/consumer/build/with_static"

if command -v pkg-config > /dev/null; then
    export PKG_CONFIG_PATH="$lib/pkgconfig"
    $VINDEX_CC "$hello" -o "$work/by_pkg_config" $(pkg-config --cflags --libs vindex)
    $VINDEX_CC "$hello" -o "$work/by_pkg_config_static" $(pkg-config --cflags vindex) \
        "$lib/libvindex.a" $(pkg-config --libs-only-l --static vindex | sed 's/-lvindex//')
    LD_LIBRARY_PATH="$lib" check "$work/by_pkg_config"
    check "$work/by_pkg_config_static"
else
    echo "no pkg-config: not tried"
fi

version=$(sed -n 's/^#define VINDEX_VERSION "\(.*\)".*/\1/p' "$work/prefix/include/vindex.h")
[ -f "$work/prefix/share/man/man1/vindex.1" ] || { echo "the man page is not installed"; exit 1; }
"$work/prefix/bin/vindex" --version | grep -qF "$version" ||
    { echo "the installed command is not version $version"; exit 1; }
if grep -rlF -e "$VINDEX_SOURCE_DIR" -e "$VINDEX_BUILD_DIR" "$lib/cmake" "$lib/pkgconfig"; then
    echo "an installed file names the build's directories"
    exit 1
fi
