# pair.awk: what two guests with vm.anon_vma_lazy=0 and =1 printed (two files:
# snapshots of anon_vma_stat, each after a line "label NAME"), as one table. Of a
# label that comes several times the mean is taken.

BEGIN {
	OFS = "\t"
	print "workload", "cache", "active_0", "in_use_0", "kb_0",
		"active_1", "in_use_1", "kb_1", "change_percent"
}

FNR == 1 { file++ }

function add(cache, active, used, kb)
{
	if (!((label, cache) in seen)) {
		seen[label, cache] = 1
		row[++rows] = label SUBSEP cache
	}
	n[label, cache, file]++
	a[label, cache, file] += active
	u[label, cache, file] += used
	k[label, cache, file] += kb
}

function mean(sum, i, file)
{
	return n[row[i], file] ? int(sum[row[i], file] / n[row[i], file] + 0.5) : 0
}

$1 == "label" { label = $2 }
$1 == "vmas" || $1 == "processes" { count[$1] = $2 }
$1 == "cache" && $3 != "ok" {
	print $2 " is " $3 ": boot with slab_nomerge" >"/dev/stderr"
	failed = 1
	exit
}
$1 == "cache" { add($2, $4, $5, $6) }
$1 == "end" {
	add("VMAs", 0, count["vmas"], 0)
	add("processes", 0, count["processes"], 0)
}

END {
	if (failed)
		exit 1
	for (i = 1; i <= rows; i++) {
		split(row[i], name, SUBSEP)
		off = mean(u, i, 1)
		on = mean(u, i, 2)
		print name[1], name[2], mean(a, i, 1), off, mean(k, i, 1),
			mean(a, i, 2), on, mean(k, i, 2),
			sprintf("%.1f", off ? 100 * (on - off) / off : 0)
	}
}
