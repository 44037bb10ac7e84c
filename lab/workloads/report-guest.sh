#!/bin/bash
# report-guest.sh WORKLOAD...: what report.sh runs in the guest. Prints lines of
# words: the state of the switch, and for each workload at its peak a snapshot
# of anon_vma_stat and what else explains it.
set -euo pipefail

# wait_for SECONDS WHAT COMMAND...: what to wait for may take minutes here.
wait_for()
{
	local limit=$1 what=$2 end=$((SECONDS + $1))
	shift 2
	until "$@"; do
		[ $SECONDS -lt $end ] ||
			{ echo "report-guest: $what: not after $limit s" >&2; return 1; }
		sleep 1
	done
}

# What the kernel has counted since it booted.
counters()
{
	awk '$1 ~ /^(anon_vma_lazy_|pswpin|pswpout|pgscan_(kswapd|direct)|pgsteal_(kswapd|direct)|oom_kill)/ {
		print "event", $1, $2
	}' /proc/vmstat
}

# The peak: called while the workload keeps what it has. What counts comes first.
snapshot()
{
	printf 'label\t%s\n' "$1"
	anon_vma_stat save /proc/self/fd/1
	counters
	# VMAs with anonymous pages, and how many of them are large.
	{ cat /proc/[0-9]*/smaps 2>/dev/null || :; } | awk '
		$1 ~ /^[0-9a-f]+-[0-9a-f]+$/ { size = anon = 0 }
		$1 == "Size:" { size = $2 }
		($1 == "Anonymous:" || $1 == "Swap:") && $2 && !anon++ {
			touched++
			large += size >= 2048
		}
		END { print "touched", touched + 0, large + 0 }'
}

# devtools METHOD PATH: prints the body of the answer. Chromium does not close
# the connection.
devtools()
{
	local line length=0
	{
		exec 3<>/dev/tcp/127.0.0.1/9222
	} 2>/dev/null || return 1
	printf '%s %s HTTP/1.1\r\nHost: localhost\r\n\r\n' "$1" "$2" >&3
	while read -r -t 120 line <&3; do
		line=${line%$'\r'}
		[ -n "$line" ] || break
		[[ ${line,,} != content-length:* ]] || length=${line#*:}
	done
	timeout 120 head -c $((length)) <&3
	exec 3>&-
}

pages_open()
{
	# A page has its title when it has loaded.
	[ "$(devtools GET /json/list | grep -c '"title": "page [0-9]* done"')" -ge "$1" ]
}

renderers()
{
	grep -lz -- '--type=renderer' /proc/[0-9]*/cmdline 2>/dev/null | wc -l
}

chromium()
{
	local dir=/tmp/chromium i pid
	mkdir -p $dir
	for ((i = 1; i <= 24; i++)); do
		cat >"$dir/$i.html" <<-PAGE
			<!DOCTYPE html><title>page $i</title><body><h1>Page $i</h1><script>
			const rows = [];
			for (let i = 0; i < 400; i++) {
				const p = document.createElement("p");
				p.textContent = "row " + i + " of page $i ".repeat(8);
				document.body.append(p);
				rows.push({ i, text: p.textContent.split(" ") });
			}
			document.body.append(new Intl.NumberFormat("en").format(rows.length));
			onload = () => setTimeout(() => { document.title = "page $i done"; }, 100);
			</script>
		PAGE
	done
	chown -R nobody $dir
	runuser -u nobody -- env HOME=$dir chromium-headless-shell \
		--user-data-dir=$dir/profile --remote-debugging-port=9222 \
		--renderer-process-limit=32 --disable-gpu --no-first-run \
		"file://$dir/1.html" >&2 &
	pid=$!
	wait_for 900 "chromium's first page" pages_open 1
	for ((i = 2; i <= 24; i++)); do
		devtools PUT "/json/new?file://$dir/$i.html" >/dev/null
		echo "chromium: page $i asked for, $SECONDS s" >&2
	done
	wait_for 1800 "24 pages" pages_open 24
	echo "processes renderer $(renderers)"
	sleep 20
	snapshot chromium
	kill $pid
	wait $pid || :
}

redis_answers()
{
	[ "$(redis-cli "$@" 2>/dev/null)" = PONG ]
}

redis_saving()
{
	redis-cli info persistence | grep -q "^rdb_bgsave_in_progress:$1"
}

# Writes go on while a forked child saves: each page written is copied.
redis()
{
	local dir=/tmp/redis pid load
	mkdir -p $dir
	redis-server --dir $dir --save '' --enable-debug-command yes >/dev/null &
	pid=$!
	wait_for 120 redis redis_answers ping
	redis-cli debug populate 200000 key 100 >&2
	redis-benchmark -q -t set -n 20000 -r 200000 -d 100 -P 16 >/dev/null
	snapshot redis-before
	# Microseconds a key: the child lives until the snapshot is taken.
	redis-cli config set rdb-key-save-delay 1000 >&2
	redis-benchmark -q -l -t set -r 200000 -d 100 >/dev/null &
	load=$!
	redis-cli bgsave >&2
	sleep 10
	redis_saving 1
	snapshot redis-save
	redis_saving 1 || { echo "report-guest: BGSAVE was over too soon" >&2; return 1; }
	kill $load
	wait $load || :
	# The way to tell redis's child to give up.
	pkill -USR1 -P $pid
	wait_for 300 "the end of BGSAVE" redis_saving 0
	sleep 5
	snapshot redis-after
	kill $pid
	wait $pid || :
}

pg()
{
	runuser -u postgres -- "$@"
}

busy_connections()
{
	[ "$(pg psql -Atc "select count(*) from pg_stat_activity where application_name = 'pgbench' and xact_start is not null")" -ge "$1" ]
}

# 24 connections are 24 processes, forked from one.
postgresql()
{
	local load
	pg_ctlcluster --skip-systemctl-redirect 17 main start -- -t 300 >&2
	pg pgbench -i -q -s 4 >&2
	pg pgbench -c 24 -j 2 -T 3000 >/dev/null &
	load=$!
	wait_for 600 "24 busy connections" busy_connections 20
	sleep 60
	snapshot postgresql
	kill $load
	wait $load || :
	pg_ctlcluster --skip-systemctl-redirect -m immediate 17 main stop >&2
}

built()
{
	[ "$(find /tmp/build -name '*.o' | wc -l)" -ge "$1" ]
}

# No two moments of a build are alike: five, of which report.sh takes the mean.
build()
{
	local dir=/tmp/build i pid
	mkdir -p $dir
	awk -v dir=$dir 'BEGIN {
		for (i = 0; i < 40; i++) {
			file = dir "/f" i ".c"
			print "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>" >file
			for (j = 0; j < 15; j++)
				printf "int f%d_%d(char *s, int n)\n" \
				       "{\n" \
				       "	int sum = %d;\n" \
				       "	for (int i = 0; i < n; i++)\n" \
				       "		if (strlen(s) > (size_t)i && s[i] %% %d)\n" \
				       "			sum += s[i] * %d + printf(\"%%d %%s\", i, s + i);\n" \
				       "		else\n" \
				       "			s[i] += strtol(s, NULL, %d);\n" \
				       "	return sum;\n" \
				       "}\n", i, j, j, j + 2, i, j % 30 + 2 >file
			close(file)
		}
	}'
	{
		echo 'CFLAGS := -O2'
		echo "lib.a: $(for ((i = 0; i < 40; i++)); do echo -n "f$i.o "; done)"
		printf '\tar rcs $@ $^\n'
	} >$dir/Makefile
	make -s -j4 -C $dir >&2 &
	pid=$!
	for i in 4 11 18 25 32; do
		wait_for 900 "$i objects" built "$i"
		kill -0 $pid
		snapshot build
	done
	wait $pid
}

printf 'switch\t%s\n' "$(cat /proc/sys/vm/anon_vma_lazy 2>/dev/null || echo none)"
printf 'kernel\t%s\n' "$(uname -r)"
for workload; do
	echo "report-guest: $workload" >&2
	printf 'label\tstart\n'
	counters
	# On the console WARNING is what the kernel says, and boot.sh fails on it.
	"$workload" 2> >(sed -u 's/WARNING:/warning:/; s/BUG:/bug:/' >&2)
done
