# shellcheck shell=bash
# Shared by the lab's scripts.

# One line that says what to do, and out.
die()
{
	echo "$*" >&2
	exit 1
}

# Progress.
say()
{
	echo "$*" >&2
}
