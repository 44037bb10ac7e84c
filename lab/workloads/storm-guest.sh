#!/bin/sh
# storm-guest.sh: what report.sh runs in a guest with too little memory.
set -eu

printf 'switch\t%s\n' "$(cat /proc/sys/vm/anon_vma_lazy 2>/dev/null || echo none)"
printf 'kernel\t%s\n' "$(uname -r)"
start=$(cut -d. -f1 /proc/uptime)
storm -p 6 -m 320 -r 1
printf 'label\tswap\n'
anon_vma_stat save /proc/self/fd/1
printf 'event\tseconds\t%d\n' $(($(cut -d. -f1 /proc/uptime) - start))
sed -n 's/^\(anon_vma_lazy_\|pgscan_[kd]\|pgsteal_[kd]\|oom_kill\|pswp\)/event \1/p' /proc/vmstat
