#!/bin/bash
# checkpatch.pl --strict has nothing to say about any mail or new file.

set -euo pipefail
# shellcheck source=lab/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

if [ -z "$(ls "$top"/patches/[0-9]*.patch 2>/dev/null)" ]; then
	echo "skip - checkpatch: patches/ is empty"
	exit
fi
base=$("$lab/fetch.sh")
"$lab/series.sh" 2>/dev/null
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT

# FILE_PATH_CHANGES asks of every new file whether MAINTAINERS knows it. The
# series has a section for them all, and that is looked at below.
check()
{
	local name=$1
	shift
	if perl "$base/linux/scripts/checkpatch.pl" --root="$base/linux" --strict --no-summary \
		--quiet --color=never --ignore=FILE_PATH_CHANGES "$@" >"$tmp/out" 2>&1 &&
	   [ ! -s "$tmp/out" ]; then
		echo "ok - checkpatch $name"
	else
		sed 's/^/# /' "$tmp/out"
		echo "not ok - checkpatch $name"
	fi
}

for mail in "$build"/series/*.patch; do
	case ${mail##*/} in
	0000-*) ;;
	*) check "${mail##*/}" "$mail" ;;
	esac
done
for patch in "$top"/patches/[0-9]*.patch; do
	patch_adds "$patch"
done | sort >"$tmp/adds"
while read -r file; do
	check "$file" --file "$top/$file"
done <"$tmp/adds"
