# test_slow_quickstart.sh - the README's first command, in a copy of the tree: it builds, and both the
# command and the C program answer.
set -eu
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cd "$VINDEX_SOURCE_DIR"
tar -cf - --exclude=./build --exclude='./build-*' --exclude=./.git . | tar -xf - -C "$work"

cd "$work"
CC=$VINDEX_CC sh tools/quickstart.sh dog > output 2>&1 || { cat output; exit 1; }
cat output
test "$(grep -c '^0\.055  puppy$' output)" -eq 1 || { echo "the C program found no puppy"; exit 1; }
test "$(grep -c 'puppy' output)" -ge 2 || { echo "the command found no puppy"; exit 1; }
