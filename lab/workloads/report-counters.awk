# report-counters.awk: report-counters.tsv as a table: what became of the VMAs that
# were lazy at first, for each workload with vm.anon_vma_lazy=1, and what reclaim did.

BEGIN {
	FS = "\t"
	causes = split("fork large size mremap swap ksm device", cause, " ")
	settings = split("base 0 1", setting, " ")
}

NR == 1 { next }
{
	if (!($1 in known)) {
		known[$1] = 1
		order[++n] = $1
	}
	value[$1, $2, $3] = $4
	has[$1, $2] = 1
}

END {
	print "\nVMAs, vm.anon_vma_lazy=1"
	printf "%-13s %8s %8s", "", "prepared", "again"
	for (c = 1; c <= causes; c++)
		printf " %7s", cause[c]
	printf " %10s %8s %7s\n", "stay lazy", "touched", ">=2MiB"
	for (i = 1; i <= n; i++) {
		w = order[i]
		upgraded = 0
		printf "%-13s %8d %8d", w, value[w, 1, "prepared"], value[w, 1, "again"]
		for (c = 1; c <= causes; c++) {
			v = value[w, 1, "upgrade_" cause[c]]
			upgraded += v
			printf " %7d", v
		}
		p = value[w, 1, "prepared"]
		printf " %8.1f %%", p ? 100 * (p - upgraded) / p : 0
		printf " %8d %7d\n", value[w, 1, "vmas_touched"], value[w, 1, "vmas_touched_2MiB"]
	}
	print "prepared: since the workload began, by a first fault or as the copy of a forked VMA; then"
	print "again, and upgrades by cause; stay lazy: those of prepared that no upgrade met; touched: VMAs with"
	print "anonymous pages at the moment of the snapshot, and how many of them have 2 MiB or more."

	for (i = 1; i <= n; i++)
		for (s = 1; s <= settings; s++) {
			if (!has[order[i], setting[s]])
				continue
			w = order[i] SUBSEP setting[s]
			scan = value[w, "pgscan_kswapd"] + value[w, "pgscan_direct"]
			steal = value[w, "pgsteal_kswapd"] + value[w, "pgsteal_direct"]
			if (scan && !header++)
				print "\nReclaim, and walks of lazy folios"
			if (scan)
				printf "%-13s %-5s scanned %9d reclaimed %9d: %.3f; swap in %8d out %8d; walks %8d contended %d\n",
					order[i], setting[s], scan, steal, steal / scan,
					value[w, "pswpin"], value[w, "pswpout"],
					value[w, "walk"], value[w, "contended"]
		}
}
