# test_slow_subdirectory.sh - a project that adds this tree with add_subdirectory gets
# vindex::vindex and neither tests, command nor install rules.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

cp "$VINDEX_SOURCE_DIR/tests/examples/hello.c" "$work/hello.c"
cat > "$work/CMakeLists.txt" <<END
cmake_minimum_required(VERSION 3.21)
project(consumer LANGUAGES C)
add_subdirectory("$VINDEX_SOURCE_DIR" vindex EXCLUDE_FROM_ALL)
add_executable(hello hello.c)
target_link_libraries(hello PRIVATE vindex::vindex)
foreach(target vindex_command base_test_mem)
    if(TARGET \${target})
        message(FATAL_ERROR "\${target} is made in a subproject")
    endif()
endforeach()
END
cmake -S "$work" -B "$work/build" -DCMAKE_C_COMPILER="$VINDEX_CC" -DCMAKE_BUILD_TYPE=Debug \
    > "$work/log"
cmake --build "$work/build" -j 2 >> "$work/log" 2>&1 || { cat "$work/log"; exit 1; }
output=$("$work/build/hello")
test "$output" = "$(cat "$VINDEX_SOURCE_DIR/tests/examples/hello.out")" ||
    { echo "printed: $output"; exit 1; }
cmake --install "$work/build" --prefix "$work/prefix" >> "$work/log"
test ! -e "$work/prefix/include" || { echo "the subproject installed something"; exit 1; }
echo "$output"
