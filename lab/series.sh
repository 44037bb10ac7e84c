#!/bin/bash
# series.sh: write the series as mails to build/series/: a cover letter from
# lab/cover.txt (its first line is the subject), then the patches, complete
# with their new files, which git am takes on the pristine tree.

set -euo pipefail
# shellcheck source=lab/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

need_tools git sha256sum flock
linux=$build/linux
if [ -d "$linux/.git" ] &&
   { [ -n "$(labgit -C "$linux" status --porcelain | head -n 1)" ] ||
     [ "$(labgit -C "$linux" rev-parse HEAD)" != "$(labgit -C "$linux" rev-parse -q --verify refs/lab/assembled)" ]; }; then
	say "build/linux has work that is not in patches/: it is not in these mails ('make refresh' saves it)"
fi

base=$("$lab/fetch.sh")
lock "$build/series.lock"
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
labgit init -q --bare -b lazy "$tmp/git"
echo "$base/git/objects" >"$tmp/git/objects/info/alternates"
start=$(labgit --git-dir="$base/git" rev-parse refs/heads/base)
end=$("$lab/stack.sh" "$tmp/git" "$start")
[ "$start" != "$end" ] || die "patches/ is empty: there is no series"
labgit --git-dir="$tmp/git" update-ref refs/heads/lazy "$end"

# The cover letter is from, and as old as, the last patch.
last() { labgit --git-dir="$tmp/git" log -1 --format="$1" lazy; }
[ -s "$lab/cover.txt" ] || die "lab/cover.txt is missing: the cover letter's text, its subject first"
GIT_COMMITTER_NAME=$(last %an) GIT_COMMITTER_EMAIL=$(last %ae) GIT_COMMITTER_DATE=$(last %aD) \
	labgit --git-dir="$tmp/git" -c branch.lazy.description="$(cat "$lab/cover.txt")" \
	format-patch -q -o "$tmp/series" --cover-letter --cover-from-description=subject \
	-n --no-signature --abbrev=12 --no-renames --no-base --thread=shallow \
	${PREFIX:+--subject-prefix="$PREFIX"} "$start..lazy"
mkdir -p "$build"
rm -rf "$build/series"
mv "$tmp/series" "$build/series"
say "build/series: $(find "$build/series" -name '*.patch' | wc -l) mails for Linux $(<"$base/version")"
