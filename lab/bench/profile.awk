# profile.awk: instructions of one operation, by function of the kernel. Its files
# are, of the kernel without the series and then of the one with it: System.map,
# the line that bench printed, and what blocks.c wrote, sorted by address.

FNR == 1 {
	kernel = int(file / 3) + 1
	kind = file++ % 3
	if (!kind)
		n = i = 0
}

kind == 0 && $2 ~ /^[tTwW]$/ {
	start[++n] = $1
	sub(/\.(isra|constprop|part|cold).*/, "", $3)
	name[n] = $3
}

# One round more is run than is measured.
kind == 1 {
	split($0, column, "\t")
	operations = column[4] * (column[5] + 1)
}

kind == 2 {
	# As strings: an address may look like a number.
	while (i < n && start[i + 1] "" <= $1 "")
		i++
	f = i ? name[i] : "(user)"
	count[kernel, f] += $2 / operations
	count[kernel, "(all)"] += $2 / operations
	known[f] = known["(all)"] = 1
}

END {
	for (f in known)
		printf "%s\t%.2f\t%.2f\t%.2f\n", f, count[1, f], count[2, f], count[2, f] - count[1, f]
}
