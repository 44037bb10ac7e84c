# demo-table.awk: demo.tsv as one table a workload.

BEGIN {
	FS = "\t"
	title["boot"] = "boot: a Debian system, 30 s after multi-user.target"
	title["gaps-touched"] = "apps: a zygote with 600 VMAs, 24 children with 300 more each, gaps between VMAs"
	title["gaps-moved"] = "apps, after every process has moved every VMA by mremap"
	title["adjacent-touched"] = "apps, VMAs without gaps that cannot merge"
	title["adjacent-moved"] = "apps without gaps, after mremap"
	title["chromium"] = "chromium: headless, 24 pages, each with its renderer"
	title["redis-before"] = "redis: 200,000 keys"
	title["redis-save"] = "redis, while a child saves and writes go on"
	title["redis-after"] = "redis, after the child has ended"
	title["postgresql"] = "postgresql: pgbench, 24 connections"
	title["build"] = "build: make -j4, mean of five moments"
	title["swap"] = "swap: after six processes have forked and written more than there is memory"
}

NR == 1 { next }

$1 != workload {
	workload = $1
	printf "\n%s\n", title[workload]
	printf "%-15s %27s %27s\n", "", "vm.anon_vma_lazy=0", "vm.anon_vma_lazy=1"
	printf "%-15s %9s %9s %7s %9s %9s %7s %9s\n", "", "active", "in use",
		"KB", "active", "in use", "KB", "change"
}

# Counted, not allocated from a cache.
$2 == "VMAs" || $2 == "processes" {
	printf "%-15s %9s %9d %7s %9s %9d %7s %8.1f%%\n", $2, "", $4, "", "",
		$7, "", $9
	next
}

{
	printf "%-15s %9d %9d %7d %9d %9d %7d %8.1f%%\n", $2, $3, $4, $5, $6,
		$7, $8, $9
}

END {
	printf "\nLinux %s, /proc/slabinfo. active: as it stood, with free objects cached per CPU;\n", release
	print "in use: after a flush; KB: of slabs after it; change: of in use, =1 against =0."
}
