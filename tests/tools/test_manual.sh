# test_manual.sh - the manual names the flags that --help names, command by command, and no others.
set -u
vindex=${VINDEX_BIN:?the command to test}
manual=${VINDEX_SOURCE_DIR:?the sources}/tools/vindex.1
failures=0

# The flags of a command as --help has them: the first word with two dashes of each line of the table.
flags_of_help() {
    "$vindex" "$1" --help | sed -n 's/^  \(-., \|    \)\(--[a-z-]*\).*/\1\2/p' | sed 's/^ *//' | sort
}

# The same of its section .SS: lines that begin a .TP's tag.
flags_of_manual() {
    sed -n "/^\.SS $1 /,/^\.S[SH] /p" "$manual" | awk 'tag { print } { tag = $0 == ".TP" }' |
        tr -d '\\"' | sed 's/^\.BR* //; s/ *fI.*//; s/ ,  */, /' | sort
}

for name in build search eval info check convert export optimize bench; do
    help=$(flags_of_help $name)
    text=$(flags_of_manual $name)
    [ -n "$help" ] || { echo "FAILED: no flags in the help of $name"; failures=1; }
    if [ "$help" != "$text" ]; then
        echo "FAILED: $name: --help has"; echo "$help"; echo "the manual has"; echo "$text"
        failures=1
    fi
done
version=$("$vindex" --version | cut -d ' ' -f 2)
grep -q "\"vindex $version\"" "$manual" || { echo "FAILED: the manual is not of $version"; failures=1; }
exit $failures
