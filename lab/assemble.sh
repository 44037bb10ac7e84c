#!/bin/bash
# assemble.sh [-k]: make build/linux from the kernel source, patches/ and the
# new files. It is a git tree, branch "lazy": one base commit (tag "base"),
# then one commit a patch. Work that is not in patches/ yet is never
# overwritten; -k says to go on with such a tree as it is.

set -euo pipefail
# shellcheck source=lab/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

keep=
[ "${1-}" != -k ] || keep=1
linux=$build/linux
need_tools git sha256sum flock

base=$("$lab/fetch.sh")
lock "$build/assemble.lock"

unsaved()
{
	[ -z "$keep" ] || { say "build/linux: $1; taken as it is"; exit 0; }
	die "build/linux $1: 'make refresh' saves commits to patches/, 'rm -rf ${linux#"$PWD/"}' drops them"
}

commit=$(labgit --git-dir="$base/git" rev-parse refs/heads/base)
if [ -e "$linux" ]; then
	[ -d "$linux/.git" ] || die "$linux is not what 'make linux' makes: move it away"
	[ "$(cat "$linux/.git/objects/info/alternates" 2>/dev/null)" != "$base/git/objects" ] ||
		labgit -C "$linux" cat-file -e "$commit" 2>/dev/null ||
		die "$linux has lost its base: remove it and run 'make linux'"
	[ ! -e "$linux/.git/rebase-merge" ] && [ ! -e "$linux/.git/rebase-apply" ] ||
		unsaved "is in the middle of a rebase"
	[ -z "$(labgit -C "$linux" status --porcelain | head -n 1)" ] ||
		unsaved "has changes that are not committed"
	[ "$(labgit -C "$linux" rev-parse HEAD)" = \
	  "$(labgit -C "$linux" rev-parse -q --verify refs/lab/assembled)" ] ||
		unsaved "has commits that are not in patches/"
	if [ "$(cat "$linux/.git/lab-inputs" 2>/dev/null)" = "$commit $(series_hash)" ]; then
		[ -n "$keep" ] || say "build/linux is up to date"
		exit
	fi
else
	need_space "$build" 3
	rm -rf "$linux.tmp"
	labgit init -q -b lazy "$linux.tmp"
	echo "$base/git/objects" >"$linux.tmp/.git/objects/info/alternates"
	labgit -C "$linux.tmp" update-ref refs/heads/lazy "$commit"
	step 600 "$build/log/checkout.log" "checking out Linux $(<"$base/version")" \
		git -C "$linux.tmp" -c core.autocrlf=false reset -q --hard
	mv "$linux.tmp" "$linux"
fi

# Another base: its objects come from another directory of the cache.
grep -qxF "$base/git/objects" "$linux/.git/objects/info/alternates" ||
	echo "$base/git/objects" >>"$linux/.git/objects/info/alternates"
inputs="$commit $(series_hash)"
head=$("$lab/stack.sh" "$linux/.git" "$commit")
labgit -C "$linux" checkout -q -B lazy "$head"
labgit -C "$linux" update-ref refs/lab/base "$commit"
labgit -C "$linux" update-ref refs/lab/assembled "$head"
labgit -C "$linux" tag -f base "$commit" >/dev/null
echo "$inputs" >"$linux/.git/lab-inputs"
say "build/linux: Linux $(<"$base/version") and $(labgit -C "$linux" rev-list --count base..lazy) commits, branch lazy"

# A file that no step names never reaches a kernel: say so while it is fresh.
comm -23 <(cd "$top" && labgit -C "$linux" ls-tree -d --name-only base |
		while read -r dir; do [ ! -d "$dir" ] || find "$dir" -type f; done | sort) \
	<(for patch in "$top"/patches/[0-9]*.patch; do
		[ ! -e "$patch" ] || patch_adds "$patch"; done | sort) |
	sed 's/^/no patch adds /' >&2
