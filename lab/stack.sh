#!/bin/bash
# stack.sh GIT_DIR COMMIT: write the series as commits on top of COMMIT, one a
# patch with its new files, and print the last one's id. No work tree and no
# branch is touched, so a patch that fails leaves nothing to clean up, and
# whoever checks the result out rewrites only the files that differ.

set -euo pipefail
# shellcheck source=lab/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

[ $# -eq 2 ] || die "usage: stack.sh GIT_DIR COMMIT"
GIT_DIR=$1
commit=$2
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
GIT_INDEX_FILE=$tmp/index
export GIT_DIR GIT_INDEX_FILE

field()
{
	sed -n "s/^$1: //p" "$tmp/info" | head -n 1
}

labgit read-tree "$commit"
for patch in "$top"/patches/[0-9]*.patch; do
	[ -e "$patch" ] || continue
	name=${patch##*/}
	labgit mailinfo --encoding=UTF-8 "$tmp/body" "$tmp/diff" <"$patch" >"$tmp/info"
	author=$(field Author) email=$(field Email) date=$(field Date) subject=$(field Subject)
	[ -n "$author" ] && [ -n "$email" ] && [ -n "$date" ] && [ -n "$subject" ] ||
		die "patches/$name is no mail: it needs From:, Date: and Subject:"

	if grep -q '^diff --git ' "$tmp/diff"; then
		labgit apply --cached --whitespace=nowarn "$tmp/diff" 2>"$tmp/err" ||
			die "patches/$name does not apply: $(head -n 1 "$tmp/err")"
	fi

	: >"$tmp/adds"
	while read -r file; do
		[ -f "$top/$file" ] && [ ! -L "$top/$file" ] ||
			die "patches/$name adds $file, which is not in this repository"
		[ -z "$(labgit ls-files -- ":(top,literal)$file")" ] ||
			die "patches/$name adds $file, which the tree has already"
		mode=100644
		[ ! -x "$top/$file" ] || mode=100755
		printf '%s %s\t%s\n' "$mode" "$(labgit hash-object -w --no-filters -- "$top/$file")" "$file" >>"$tmp/adds"
	done < <(patch_adds "$patch")
	labgit update-index --add --index-info <"$tmp/adds"

	tree=$(labgit write-tree)
	[ "$tree" != "$(labgit rev-parse "$commit^{tree}")" ] ||
		die "patches/$name changes nothing"
	{ echo "$subject"; echo; cat "$tmp/body"; } | labgit stripspace >"$tmp/message"
	commit=$(GIT_AUTHOR_NAME=$author GIT_AUTHOR_EMAIL=$email GIT_AUTHOR_DATE=$date \
		GIT_COMMITTER_NAME=$author GIT_COMMITTER_EMAIL=$email GIT_COMMITTER_DATE=$date \
		labgit commit-tree -p "$commit" -F "$tmp/message" "$tree")
done
echo "$commit"
