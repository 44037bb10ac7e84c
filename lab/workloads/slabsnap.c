// SPDX-License-Identifier: GPL-2.0
/*
 * slabsnap: what the caches behind rmap hold now, as tab-separated lines:
 *
 *	[LABEL] name active in_use slab_kb object_size
 *
 * "active" is slabinfo's count as it stood; it includes free objects that are
 * cached per CPU. "in_use" is the same count after /sys/kernel/slab/NAME/shrink
 * has flushed those, once it has come to rest (frees may wait for RCU).
 * Two more lines count user processes and their VMAs, in the in_use column.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))

static const char * const names[] = {
	"anon_vma", "anon_vma_chain", "vm_area_struct", "mm_struct",
	"maple_node",
};

struct cache {
	unsigned long active;	/* before the flush */
	unsigned long in_use;	/* after it */
	unsigned long size;
	unsigned long kb;
};

static struct cache caches[ARRAY_SIZE(names)];

static void __attribute__((noreturn)) die(const char *what)
{
	fprintf(stderr, "slabsnap: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void read_slabinfo(void)
{
	unsigned long active, total, size, per_slab, pages, slabs;
	unsigned int found = 0;
	char line[512], name[64];
	FILE *f;

	f = fopen("/proc/slabinfo", "r");
	if (!f)
		die("/proc/slabinfo (be root; CONFIG_SLUB_DEBUG=y)");
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line,
			   "%63s %lu %lu %lu %lu %lu : tunables %*u %*u %*u : slabdata %*u %lu",
			   name, &active, &total, &size, &per_slab, &pages,
			   &slabs) != 7)
			continue;
		for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
			if (strcmp(name, names[i]))
				continue;
			caches[i].in_use = active;
			caches[i].size = size;
			caches[i].kb = slabs * pages *
				       (sysconf(_SC_PAGESIZE) / 1024);
			found++;
		}
	}
	fclose(f);
	if (found != ARRAY_SIZE(names)) {
		fprintf(stderr,
			"slabsnap: /proc/slabinfo lacks a cache: boot with slab_nomerge\n");
		exit(1);
	}
}

static void flush(void)
{
	char path[128];

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		int fd;

		snprintf(path, sizeof(path), "/sys/kernel/slab/%s/shrink",
			 names[i]);
		fd = open(path, O_WRONLY);
		if (fd < 0 || write(fd, "1", 1) != 1)
			die(path);
		close(fd);
	}
}

/* Flush until two rounds agree: what was freed comes back through RCU. */
static void settle(void)
{
	unsigned long last = 0, sum;

	for (int round = 0; round < 30; round++) {
		flush();
		read_slabinfo();
		sum = 0;
		for (size_t i = 0; i < ARRAY_SIZE(names); i++)
			sum += caches[i].in_use;
		if (round > 2 && sum == last)
			return;
		last = sum;
		usleep(100 * 1000);
	}
}

/* The vsyscall page is listed with every process, but is no VMA. */
static unsigned long count_vmas(const char *pid)
{
	unsigned long n = 0;
	char path[300], *line = NULL;
	size_t size = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/%s/maps", pid);
	f = fopen(path, "r");
	if (!f)
		return 0;	/* it has just ended */
	while (getline(&line, &size, f) > 0)
		n += !strstr(line, "[vsyscall]");
	free(line);
	fclose(f);
	return n;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "label", required_argument, NULL, 'l' },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	unsigned long vmas = 0, processes = 0;
	const char *label = NULL;
	struct dirent *entry;
	DIR *proc;
	int opt;

	while ((opt = getopt_long(argc, argv, "l:h", options, NULL)) != -1) {
		switch (opt) {
		case 'l':
			label = optarg;
			break;
		case 'h':
			puts("usage: slabsnap [--label WORD]\n"
			     "Prints the slab caches behind rmap as tab-separated lines:\n"
			     "[WORD] name, active, in use after a flush, KB of slabs, object size");
			return 0;
		default:
			return 2;
		}
	}
	if (optind != argc) {
		fprintf(stderr, "slabsnap: no arguments are taken, see --help\n");
		return 2;
	}

	read_slabinfo();
	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		caches[i].active = caches[i].in_use;
	settle();

	proc = opendir("/proc");
	if (!proc)
		die("/proc");
	while ((entry = readdir(proc))) {
		unsigned long n;

		if (!isdigit(entry->d_name[0]))
			continue;
		n = count_vmas(entry->d_name);
		vmas += n;
		processes += !!n;	/* a kernel thread has none */
	}
	closedir(proc);

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		printf("%s%s%s\t%lu\t%lu\t%lu\t%lu\n", label ? label : "",
		       label ? "\t" : "", names[i], caches[i].active,
		       caches[i].in_use, caches[i].kb, caches[i].size);
	printf("%s%sVMAs\t0\t%lu\t0\t0\n", label ? label : "",
	       label ? "\t" : "", vmas);
	printf("%s%sprocesses\t0\t%lu\t0\t0\n", label ? label : "",
	       label ? "\t" : "", processes);
	if (fflush(stdout))
		die("standard output");
	return 0;
}
