#!/bin/sh
# Prints the entries of a lock, with their hashes, for the packages that a file lists.
# usage: subset.sh PACKAGES LOCK
set -eu
awk 'NR == FNR { wanted[$1] = 1; next } /^[a-z0-9]/ { split($0, name, "=="); kept = name[1] in wanted } kept' "$1" "$2"
