#!/bin/sh
# Records the programs anew: needs gcc and g++ for x86-64 Linux. Addresses of
# call sites change with the compiler; what was recorded in the folder above
# came from GCC 12 and libstdc++ 12, -O2.
set -e
cd "$(dirname "$0")"
out=$(mktemp -d)
gcc -O2 -Wall -c recorder.c -o "$out/recorder.o"
g++ -O2 -Wall -std=c++17 vectors.cc "$out/recorder.o" -o "$out/vectors"
g++ -O2 -Wall -std=c++17 tables.cc "$out/recorder.o" -pthread -o "$out/tables"
gcc -O2 -Wall growth.c "$out/recorder.o" -pthread -o "$out/growth"
for p in vectors tables growth; do
    setarch -R "$out/$p" "$out/$p.hrec.txt" "../$p.pairs.txt"
    gzip -9nc "$out/$p.hrec.txt" > "../$p.hrec.txt.gz"
    wc -l "$out/$p.hrec.txt" "../$p.pairs.txt"
done
rm -r "$out"
