#!/bin/bash
# apply.sh DIR: put the series as commits on a new branch, anon-vma-lazy, of
# the git tree DIR and check it out. A tree that is dirty, not git or of
# another kernel version is left untouched, and so is one that the patches do
# not fit: the commits are made before anything is checked out.

set -euo pipefail
# shellcheck source=lab/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

branch=anon-vma-lazy
tree=${1-}
need_tools git
[ -n "$tree" ] || die "say which tree: make apply KERNEL=dir"
[ -d "$tree" ] || die "KERNEL=$tree: no such directory"
[ -z "$(git -C "$tree" rev-parse --show-prefix 2>/dev/null)" ] &&
	gitdir=$(git -C "$tree" rev-parse --absolute-git-dir 2>/dev/null) &&
	[ "$(git -C "$tree" rev-parse --is-inside-work-tree 2>/dev/null)" = true ] ||
	die "$tree is not the top of a git tree: clone or git init one"
version=$(git -C "$tree" show HEAD:Makefile 2>/dev/null |
	awk -F' *= *' '/^VERSION/ && v == "" { v = $2 } /^PATCHLEVEL/ && p == "" { p = $2 }
		END { if (v != "") print v "." p }') || :
[ "$version" = "$kernel_series" ] ||
	die "$tree is Linux ${version:-of no version}, the series is for $kernel_series.y: check out a $kernel_series.y tag or branch"
for state in rebase-merge rebase-apply MERGE_HEAD CHERRY_PICK_HEAD REVERT_HEAD BISECT_LOG; do
	[ ! -e "$gitdir/$state" ] || die "$tree is in the middle of a rebase, am, merge or bisect: finish it first"
done
[ -z "$(git -C "$tree" status --porcelain | head -n 1)" ] ||
	die "$tree has changes that are not committed: commit or stash them first"
! git -C "$tree" rev-parse -q --verify "refs/heads/$branch" >/dev/null ||
	die "$tree has a branch $branch already: rename it or delete it first"

[ -n "$(ls "$top"/patches/[0-9]*.patch 2>/dev/null)" ] || die "patches/ is empty: there is no series"
head=$(git -C "$tree" rev-parse HEAD)
new=$("$lab/stack.sh" "$(git -C "$tree" rev-parse --path-format=absolute --git-common-dir)" "$head") ||
	die "$tree is as it was: the series is made for Linux $kernel_series.y without other changes to these files"
git -C "$tree" checkout -q -b "$branch" "$new" || {
	git -C "$tree" branch -q -D "$branch" 2>/dev/null || :
	die "$tree cannot be switched to the new branch: it is as it was"
}
say "$tree: branch $branch, $(git -C "$tree" rev-list --count "$head..$new") commits on ${head:0:12}"
