#!/bin/bash
# checkpatch.pl --strict has nothing to say about any mail or new file, but
# for what lab/tests/checkpatch.allow names, line by line: FILE TYPE REASON.

set -euo pipefail
# shellcheck source=lab/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/../lib.sh"

allow=$lab/tests/checkpatch.allow
if [ -z "$(ls "$top"/patches/[0-9]*.patch 2>/dev/null)" ]; then
	echo "skip - checkpatch: patches/ is empty"
	exit
fi
need_tools perl
base=$("$lab/fetch.sh")
"$lab/series.sh" 2>/dev/null
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
: >"$tmp/used"
grep -v '^#' "$allow" 2>/dev/null | grep . >"$tmp/allow" || :

# FILE_PATH_CHANGES asks of every new file whether MAINTAINERS knows it; the
# series has a section for them all. Not from inside a git tree: checkpatch
# would look for the commits that messages name in this repository.
check()
{
	local name=$1
	shift
	(cd "$tmp" && perl "$base/linux/scripts/checkpatch.pl" --root="$base/linux" --strict --terse \
		--showfile --show-types --no-summary --quiet --color=never \
		--ignore=FILE_PATH_CHANGES "$@") >"$tmp/said" 2>&1 || :
	# "FILE:LINE: LEVEL:TYPE: text", the file as the kernel calls it.
	sed "s,^$top/,," "$tmp/said" | awk -v allow="$tmp/allow" -v used="$tmp/used" '
		BEGIN { while ((getline line <allow) > 0) { split(line, f, " "); ok[f[1], f[2]] = 1 } }
		{
			file = type = $0
			sub(/:.*/, "", file)
			if (match(type, /(ERROR|WARNING|CHECK):[A-Z0-9_]+:/)) {
				type = substr(type, RSTART, RLENGTH - 1)
				sub(/.*:/, "", type)
			}
			if ((file, type) in ok) print file, type >>used
			else print
		}' >"$tmp/out"
	if [ ! -s "$tmp/out" ]; then
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

# An exception that nothing needs any more hides the next fault.
while read -r file type _; do
	grep -qxF "$file $type" "$tmp/used" ||
		echo "not ok - checkpatch.allow: nothing needs $file $type"
done <"$tmp/allow"
