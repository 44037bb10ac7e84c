// SPDX-License-Identifier: GPL-2.0
/*
 * contend: reclaim against page faults on one process tree.
 *
 * A process forks others and goes on to use what they share; each has small
 * mappings of its own, too. All of them write to their pages, drop some now and
 * then, and map some anew, while reclaimers take memory away from all of them. So
 * rmap walks meet faults, which hold VMA locks for reading, and mmap() and
 * munmap(), which hold them for writing.
 *
 * Prints what was done in SECONDS (default 10) as lines of a name and a number:
 * pages that were written to, pages reclaimed, pages looked at for that, and what
 * both took in system time, in milliseconds.
 */
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE		4096ul
#define NR_PROCESSES	4		/* that fault, the parent of the others included */
#define NR_RECLAIMERS	2
#define NR_MAPPINGS	128		/* each process has, and as many inherited ones */
#define MAPPING		(16 * PAGE)
#define CGROUP		"/tmp/cgroup"

struct shared {
	bool stop;
	unsigned long written[NR_PROCESSES];
};

static struct shared *sh;

static bool put(const char *file, const char *text)
{
	int fd = open(file, O_WRONLY);
	bool ok = fd >= 0 && write(fd, text, strlen(text)) == (ssize_t)strlen(text);

	close(fd);
	return ok;
}

static unsigned long get(const char *file, const char *key)
{
	unsigned long val = 0;
	char line[128];
	FILE *f = fopen(file, "r");

	if (!f)
		err(1, "%s", file);
	while (fgets(line, sizeof(line), f))
		if (!strncmp(line, key, strlen(key)) && line[strlen(key)] == ' ')
			val = strtoul(line + strlen(key), NULL, 10);
	fclose(f);
	return val;
}

static void *map(void *addr, size_t size, int prot, int flags)
{
	void *p = mmap(addr, size, prot, flags | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		err(1, "mmap");
	return p;
}

/* Mappings with gaps: neither do they merge, nor are they neighbours. */
static char *map_all(void)
{
	char *p = map(NULL, 2 * NR_MAPPINGS * MAPPING, PROT_NONE,
		      MAP_PRIVATE | MAP_NORESERVE);

	for (int i = 0; i < NR_MAPPINGS; i++)
		map(p + 2 * i * MAPPING, MAPPING, PROT_READ | PROT_WRITE,
		    MAP_PRIVATE | MAP_FIXED);
	return p;
}

static void write_to(char *p, unsigned long *written)
{
	for (size_t i = 0; i < MAPPING; i += PAGE)
		++*(volatile unsigned long *)(p + i);
	*written += MAPPING / PAGE;
}

static void __attribute__((noreturn)) use(char *inherited, int nr)
{
	unsigned long *written = &sh->written[nr];
	unsigned int random = nr + 1;
	char *own = map_all();

	while (!__atomic_load_n(&sh->stop, __ATOMIC_RELAXED)) {
		char *p;

		random = random * 1103515245 + 12345;
		p = (random & 0x40000000 ? own : inherited) +
		    2 * MAPPING * ((random >> 16) % NR_MAPPINGS);
		switch (random >> 24 & 15) {
		case 0:
			madvise(p, MAPPING, MADV_DONTNEED);
			break;
		case 1:
			munmap(p, MAPPING);
			map(p, MAPPING, PROT_READ | PROT_WRITE,
			    MAP_PRIVATE | MAP_FIXED);
			break;
		}
		write_to(p, written);
		/* Who never pauses has no page that reclaim would take. */
		usleep(2000);
	}
	while (wait(NULL) > 0)
		;
	_exit(0);
}

static void __attribute__((noreturn)) reclaim(void)
{
	while (!__atomic_load_n(&sh->stop, __ATOMIC_RELAXED))
		put(CGROUP "/test/memory.reclaim", "1M swappiness=max");
	_exit(0);
}

int main(int argc, char **argv)
{
	const int seconds = argc > 1 ? atoi(argv[1]) : 10;
	unsigned long written = 0, steal, scan;
	struct rusage usage;
	char *inherited;
	pid_t parent;
	int status;

	if (seconds < 1 || seconds > 3600) {
		fprintf(stderr, "usage: contend [SECONDS], 1 to 3600\n");
		return 2;
	}
	sh = map(NULL, sizeof(*sh), PROT_READ | PROT_WRITE, MAP_SHARED);
	mkdir(CGROUP, 0755);
	if (mount("cgroup2", CGROUP, "cgroup2", 0, NULL) ||
	    !put(CGROUP "/cgroup.subtree_control", "+memory") ||
	    mkdir(CGROUP "/test", 0755))
		err(1, "cgroup");

	parent = fork();
	if (!parent) {
		if (!put(CGROUP "/test/cgroup.procs", "0"))
			err(1, "cgroup.procs");
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		inherited = map_all();
		for (int i = 0; i < NR_MAPPINGS; i++)
			write_to(inherited + 2 * i * MAPPING, &written);
		for (int i = 1; i < NR_PROCESSES; i++)
			if (!fork())
				use(inherited, i);
		use(inherited, 0);
	}
	sleep(1);
	steal = get(CGROUP "/test/memory.stat", "pgsteal");
	scan = get(CGROUP "/test/memory.stat", "pgscan");
	for (int i = 0; i < NR_PROCESSES; i++)
		written -= __atomic_load_n(&sh->written[i], __ATOMIC_RELAXED);
	for (int i = 0; i < NR_RECLAIMERS; i++)
		if (!fork())
			reclaim();
	sleep(seconds);
	for (int i = 0; i < NR_PROCESSES; i++)
		written += __atomic_load_n(&sh->written[i], __ATOMIC_RELAXED);
	steal = get(CGROUP "/test/memory.stat", "pgsteal") - steal;
	scan = get(CGROUP "/test/memory.stat", "pgscan") - scan;
	__atomic_store_n(&sh->stop, true, __ATOMIC_RELAXED);
	while (wait(&status) > 0)
		if (status)
			errx(1, "a process ended with %#x", status);
	if (getrusage(RUSAGE_CHILDREN, &usage))
		err(1, "getrusage");
	printf("written\t%lu\nreclaimed\t%lu\nscanned\t%lu\n", written, steal, scan);
	printf("system\t%lu\n", usage.ru_stime.tv_sec * 1000ul + usage.ru_stime.tv_usec / 1000);
	return 0;
}
