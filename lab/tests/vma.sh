#!/bin/bash
# tools/testing/vma, the kernel's own userland test of mm/vma.c, builds and
# passes with the series, the option off and on.

set -euo pipefail
# shellcheck source=lab/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

"$lab/assemble.sh" -k
need_tools make gcc
# It builds in its own tree: give it one, so that build/linux stays clean.
tree=$build/vma
rm -rf "$tree"
mkdir -p "$tree"
trap 'rm -rf "$tree"' EXIT
(cd "$build/linux" && labgit ls-files -z -- tools/testing/vma tools/testing/shared \
	tools/testing/radix-tree tools/include tools/lib tools/scripts tools/arch \
	lib mm include arch/x86/include scripts |
	tar -c --null -T - --ignore-failed-read) | tar -x -C "$tree"
log=$build/log/vma-build.log
if make -C "$tree/tools/testing/vma" >"$log" 2>&1; then
	echo "ok - tools/testing/vma builds"
else
	tail -n 20 "$log" | sed 's/^/# /'
	echo "not ok - tools/testing/vma builds"
	exit
fi
# One binary as upstream, one with CONFIG_ANON_VMA_LAZY. The sanitizers' complaints
# at exit count too.
for binary in vma vma_lazy; do
	log=$build/log/$binary.log
	if timeout 300 "$tree/tools/testing/vma/$binary" >"$log" 2>&1; then
		echo "ok - tools/testing/vma: $binary passes ($(tail -n 1 "$log"))"
	else
		tail -n 20 "$log" | sed 's/^/# /'
		echo "not ok - tools/testing/vma: $binary passes"
	fi
done
