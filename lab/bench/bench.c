// SPDX-License-Identifier: GPL-2.0
/*
 * bench: what anonymous memory costs, in instructions.
 *
 * Meant for QEMU's -icount shift=0, where the guest's clock counts the
 * instructions that the guest has run, kernel and all. Each case runs in a
 * process of its own that was just exec'd, so no case sees the anon_vmas of
 * another. A case is repeated in rounds of many operations: the minimum repeats,
 * the mean has what the kernel puts off (RCU, work items) and timer interrupts.
 *
 * Prints a line for each case, separated by tabs: name, what one operation is,
 * bar, operations in a round, rounds, minimum and mean for an operation. The bar
 * is what the minimum may be at most with lazy anon_vmas, as a part of what it
 * is without.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define PAGE		4096ul
#define KiB		1024ul
#define MiB		(1024 * KiB)
#define NR_THREADS	4
#define FILE_NAME	"/tmp/bench.file"
#define CGROUP		"/tmp/cgroup"
/* A case may last that many seconds of the guest's clock, which can be fast. */
#define CASE_LIMIT	600

struct bench {
	const char *name;
	const char *op;
	const char *bar;
	uint64_t (*run)(const struct bench *b);	/* of one round */
	void (*setup)(const struct bench *b);
	unsigned int ops;	/* in a round */
	unsigned int rounds;
	size_t size;		/* of a mapping */
	unsigned int count;	/* of mappings, children or pages, see the case */
	bool flag;		/* see the case */
};

static const char *running = "bench";
static char *area;		/* what the setup has mapped */

static void __attribute__((noreturn, format(printf, 1, 2)))
die(const char *fmt, ...)
{
	char text[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof(text), fmt, ap);
	va_end(ap);
	fprintf(stderr, "bench: %s: %s: %s\n", running, text, strerror(errno));
	_exit(1);
}

static inline uint64_t instructions(void)
{
#ifdef __x86_64__
	return __builtin_ia32_rdtsc();
#else
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000ull + ts.tv_nsec;
#endif
}

/* Called at the begin and at the end of what is measured; bench.sh -p counts by that. */
__attribute__((noinline)) uint64_t now(void)
{
	return instructions();
}

static void put(const char *file, const char *text)
{
	int fd = open(file, O_WRONLY);

	if (fd < 0)
		die("%s", file);
	if (write(fd, text, strlen(text)) != (ssize_t)strlen(text))
		die("writing %s to %s", text, file);
	close(fd);
}

/* The value of @key in a file of keys and values. */
static unsigned long get(const char *file, const char *key)
{
	unsigned long val = 0;
	char line[128];
	FILE *f = fopen(file, "r");

	if (!f)
		die("%s", file);
	while (fgets(line, sizeof(line), f)) {
		if (!strncmp(line, key, strlen(key)) && line[strlen(key)] == ' ')
			val = strtoul(line + strlen(key), NULL, 10);
	}
	fclose(f);
	return val;
}

static void *map_at(void *addr, size_t size, int flags, int fd)
{
	void *p = mmap(addr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | flags, fd, 0);

	if (p == MAP_FAILED)
		die("mmap of %zu bytes", size);
	return p;
}

static void *map(size_t size)
{
	return map_at(NULL, size, MAP_ANONYMOUS, -1);
}

static void unmap(void *p, size_t size)
{
	if (munmap(p, size))
		die("munmap");
}

static void touch(char *p, size_t size)
{
	for (size_t i = 0; i < size; i += PAGE)
		*(volatile char *)(p + i) = 1;
}

static void look(const char *p, size_t size)
{
	for (size_t i = 0; i < size; i += PAGE)
		*(const volatile char *)(p + i);
}

/* Address space. */
static char *reserve(size_t size)
{
	char *p = mmap(NULL, size, PROT_NONE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		die("mmap of %zu bytes", size);
	return p;
}

/* @count mappings of @size, a page between any two so that none merge. */
static char *map_many(unsigned int count, size_t size)
{
	char *p = reserve(count * (size + PAGE) + PAGE);

	unmap(p, count * (size + PAGE) + PAGE);
	p += PAGE;
	for (unsigned int i = 0; i < count; i++)
		map_at(p + i * (size + PAGE), size, MAP_ANONYMOUS | MAP_FIXED, -1);
	return p;
}

static void touch_many(char *p, unsigned int count, size_t size)
{
	for (unsigned int i = 0; i < count; i++)
		touch(p + i * (size + PAGE), size);
}

static void unmap_many(char *p, unsigned int count, size_t size)
{
	unmap(p, count * (size + PAGE));
}

static pid_t do_fork(void)
{
	pid_t pid = fork();

	if (pid < 0)
		die("fork");
	if (!pid)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	return pid;
}

static void reap(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid || status)
		die("a child ended with status 0x%x", status);
}

/* A child that does nothing, and lasts until it is killed. */
static pid_t fork_idler(void)
{
	pid_t pid = do_fork();

	while (!pid)
		pause();
	return pid;
}

static void kill_idler(pid_t pid)
{
	kill(pid, SIGKILL);
	if (waitpid(pid, NULL, 0) != pid)
		die("waitpid");
}

/* First touch */

static uint64_t run_touch(const struct bench *b)
{
	int fd = b->flag ? open(FILE_NAME, O_RDONLY | O_CLOEXEC) : -1;
	uint64_t t = now();

	for (unsigned int i = 0; i < b->ops; i++) {
		char *p = map_at(NULL, b->size, b->flag ? 0 : MAP_ANONYMOUS, fd);

		touch(p, b->size);
		unmap(p, b->size);
	}
	t = now() - t;
	if (b->flag)
		close(fd);
	return t;
}

static pthread_barrier_t barrier;
static char *volatile stage;

/* Each thread has pages of its own in one mapping, all of them next to others'. */
static void *touch_stripe(void *arg)
{
	const struct bench *b = arg;
	static unsigned int next;
	unsigned int self = __atomic_fetch_add(&next, 1, __ATOMIC_RELAXED);

	for (;;) {
		pthread_barrier_wait(&barrier);
		for (size_t i = self * PAGE; i < b->size; i += NR_THREADS * PAGE)
			touch(stage + i, 1);
		pthread_barrier_wait(&barrier);
	}
	return NULL;
}

static void setup_threads(const struct bench *b)
{
	pthread_barrier_init(&barrier, NULL, NR_THREADS + 1);
	for (unsigned int i = 0; i < NR_THREADS; i++) {
		pthread_t thread;

		errno = pthread_create(&thread, NULL, touch_stripe, (void *)b);
		if (errno)
			die("pthread_create");
	}
}

static uint64_t run_threads(const struct bench *b)
{
	uint64_t t = now();

	for (unsigned int i = 0; i < b->ops; i++) {
		stage = map(b->size);
		pthread_barrier_wait(&barrier);
		pthread_barrier_wait(&barrier);
		unmap(stage, b->size);
	}
	return now() - t;
}

/* @flag: huge pages, of whatever size @size is */
static uint64_t run_huge(const struct bench *b)
{
	uint64_t t = 0;

	for (unsigned int i = 0; i < b->ops; i++) {
		char *p, *start = map(2 * b->size);

		p = (char *)(((uintptr_t)start + b->size - 1) & -b->size);
		if (madvise(p, b->size, MADV_HUGEPAGE))
			die("madvise");
		t -= now();
		touch(p, 1);
		t += now();
		unmap(start, 2 * b->size);
	}
	return t;
}

static void setup_mthp(const struct bench *b)
{
	char name[128];

	snprintf(name, sizeof(name),
		 "/sys/kernel/mm/transparent_hugepage/hugepages-%zukB/enabled",
		 b->size / KiB);
	put(name, "madvise");
}

/* Fork */

static void setup_many(const struct bench *b)
{
	area = map_many(b->count, b->size);
	touch_many(area, b->count, b->size);
}

/* @flag: the child writes to all that it has inherited */
static uint64_t run_fork(const struct bench *b)
{
	uint64_t t = now();

	for (unsigned int i = 0; i < b->ops; i++) {
		pid_t pid = do_fork();

		if (!pid) {
			if (b->flag)
				touch_many(area, b->count, b->size);
			_exit(0);
		}
		reap(pid);
	}
	return now() - t;
}

/* What a process does that forks once: first touch, fork, exit of both. */
static uint64_t run_fork_once(const struct bench *b)
{
	uint64_t t = now();

	for (unsigned int i = 0; i < b->ops; i++) {
		pid_t pid;

		setup_many(b);
		pid = do_fork();
		if (!pid)
			_exit(0);
		reap(pid);
		unmap_many(area, b->count, b->size);
	}
	return now() - t;
}

/* Go on as a child of a child, each of which has written to half of it. */
static void descend(const struct bench *b, unsigned int generations)
{
	while (generations--) {
		pid_t pid = do_fork();

		if (pid) {
			reap(pid);
			_exit(0);
		}
		for (unsigned int i = 0; i < b->count; i += 2)
			touch(area + i * (b->size + PAGE), b->size);
	}
}

static void setup_generation_2(const struct bench *b)
{
	setup_many(b);
	descend(b, 1);
}

static void setup_generation_3(const struct bench *b)
{
	setup_many(b);
	descend(b, 2);
}

/* A child that has written to nothing yet, as a zygote's children fork */
static void setup_idle_child(const struct bench *b)
{
	pid_t pid;

	setup_many(b);
	pid = do_fork();
	if (!pid)
		return;
	reap(pid);
	_exit(0);
}

static uint64_t run_fork_exec(const struct bench *b)
{
	uint64_t t = now();

	for (unsigned int i = 0; i < b->ops; i++) {
		pid_t pid = do_fork();

		if (!pid) {
			execl("/proc/self/exe", "bench", "-e", "0", NULL);
			die("exec");
		}
		reap(pid);
	}
	return now() - t;
}

/* One process execs itself again and again. */
static uint64_t run_exec(const struct bench *b)
{
	uint64_t t = now();
	pid_t pid = vfork();

	if (!pid) {
		char left[16];

		snprintf(left, sizeof(left), "%u", b->ops);
		execl("/proc/self/exe", "bench", "-e", left, NULL);
		_exit(1);
	}
	reap(pid);
	return now() - t;
}

/* From _exit() until the parent knows, for a child with @count mappings. */
static uint64_t run_exit(const struct bench *b)
{
	volatile uint64_t *began = mmap(NULL, PAGE, PROT_READ | PROT_WRITE,
					MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	uint64_t t = 0;

	for (unsigned int i = 0; i < b->ops; i++) {
		pid_t pid = do_fork();

		if (!pid) {
			setup_many(b);
			*began = now();
			_exit(0);
		}
		reap(pid);
		t += now() - *began;
	}
	unmap((void *)began, PAGE);
	return t;
}

/* Split, merge, move */

static void setup_area(const struct bench *b)
{
	area = map(b->size);
	touch(area, b->size);
}

static uint64_t run_mprotect(const struct bench *b)
{
	char *middle = area + b->size / 2;
	uint64_t t = now();

	for (unsigned int i = 0; i < b->ops; i++) {
		if (mprotect(middle, PAGE, PROT_READ) ||
		    mprotect(middle, PAGE, PROT_READ | PROT_WRITE))
			die("mprotect");
	}
	return now() - t;
}

/* A hole, and the hole filled again. */
static uint64_t run_hole(const struct bench *b)
{
	char *middle = area + b->size / 2;
	uint64_t t = now();

	for (unsigned int i = 0; i < b->ops; i++) {
		unmap(middle, PAGE);
		map_at(middle, PAGE, MAP_ANONYMOUS | MAP_FIXED, -1);
		touch(middle, PAGE);
	}
	return now() - t;
}

/*
 * Start every round at the same distance from the next timer interrupt, and when
 * the last one's callbacks and work items are done. Idling takes no instructions.
 */
static void settle(void)
{
	const long tick = 10000000;	/* HZ is 100 */
	struct timespec ts;

	if (clock_gettime(CLOCK_MONOTONIC, &ts))
		die("clock_gettime");
	ts.tv_sec += (ts.tv_nsec + 20 * tick) / 1000000000;
	ts.tv_nsec = (ts.tv_nsec + 20 * tick) % 1000000000 / tick * tick + tick / 4;
	errno = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &ts, NULL);
	if (errno)
		die("clock_nanosleep");
}

/*
 * @flag: the second move of a mapping, not the first. Nothing else happens between
 * the moves: what is freed after a grace period would be counted or not, as the
 * tick falls.
 */
static uint64_t run_mremap(const struct bench *b)
{
	/*
	 * Places so far apart that they share no page table, nor touch each other
	 * or anything else that could be merged.
	 */
	const size_t stride = b->size + 4 * MiB;
	char *space[b->ops], *from[b->ops];
	uint64_t t = 0;

	for (unsigned int i = 0; i < b->ops; i++) {
		space[i] = reserve(3 * stride);
		from[i] = map(b->size);
		touch(from[i], b->size);
	}
	for (unsigned int j = 0; j <= b->flag; j++) {
		settle();
		if (j == b->flag)
			t = now();
		for (unsigned int i = 0; i < b->ops; i++) {
			char *to = space[i] + 2 * MiB + j * stride;

			if (mremap(from[i], b->size, b->size,
				   MREMAP_MAYMOVE | MREMAP_FIXED, to) != to)
				die("mremap");
			from[i] = to;
		}
	}
	t = now() - t;
	for (unsigned int i = 0; i < b->ops; i++) {
		unmap(from[i], b->size);
		unmap(space[i], 3 * stride);
	}
	return t;
}

/*
 * An array that doubles until it is @size. It has to move: the holes that it has
 * left are not as big as itself.
 */
static uint64_t run_realloc(const struct bench *b)
{
	uint64_t t = now();

	for (unsigned int i = 0; i < b->ops; i++) {
		char *p = map(64 * KiB);
		size_t size = 64 * KiB;

		touch(p, size);
		while (size < b->size) {
			p = mremap(p, size, 2 * size, MREMAP_MAYMOVE);
			if (p == MAP_FAILED)
				die("mremap");
			touch(p + size, size);
			size *= 2;
		}
		unmap(p, size);
	}
	return now() - t;
}

/* Reclaim. An operation is a page. */

static uint64_t pageout(void *p, size_t size)
{
	uint64_t t = now();

	if (madvise(p, size, MADV_PAGEOUT))
		die("MADV_PAGEOUT");
	return now() - t;
}

static void check_swapped(const char *p, size_t size, bool swapped)
{
	unsigned char vec[512];
	unsigned int resident = 0;

	if (mincore((void *)p, size, vec))
		die("mincore");
	for (size_t i = 0; i < size / PAGE; i++)
		resident += vec[i] & 1;
	errno = 0;
	if (resident != (swapped ? 0 : size / PAGE))
		die("%u pages of %zu are in memory", resident, size / PAGE);
}

static void setup_children(const struct bench *b)
{
	setup_area(b);
	for (unsigned int i = 0; i < b->count; i++)
		fork_idler();
	/* Ours, again: the children keep the first pages. */
	touch(area, b->size);
}

static uint64_t run_pageout(const struct bench *b)
{
	uint64_t t = pageout(area, b->size);

	check_swapped(area, b->size, true);
	touch(area, b->size);
	return t;
}

static uint64_t run_swapin(const struct bench *b)
{
	uint64_t t;

	pageout(area, b->size);
	check_swapped(area, b->size, true);
	t = now();
	touch(area, b->size);
	return now() - t;
}

/* The child pages out what it has inherited and written to. */
static void setup_child(const struct bench *b)
{
	pid_t pid;

	setup_area(b);
	pid = do_fork();
	if (pid) {
		reap(pid);
		_exit(0);
	}
	touch(area, b->size);
}

/* Reclaim by what a memory cgroup holds, which finds pages by rmap alone. */
static void setup_cgroup(const struct bench *b)
{
	char pid[16];

	(void)b;
	snprintf(pid, sizeof(pid), "%d", getpid());
	put(CGROUP "/bench/cgroup.procs", pid);
}

static uint64_t reclaim(char *p, size_t size)
{
	int fd = open(CGROUP "/bench/memory.reclaim", O_WRONLY);
	unsigned char vec[512];
	bool again = true;
	uint64_t t = 0;

	if (fd < 0)
		die("memory.reclaim");
	/* What is active or was looked at takes another round. */
	for (unsigned int tries = 0; again && tries < 100; tries++) {
		t -= now();
		if (write(fd, "64K swappiness=max", 18) < 0 && errno != EAGAIN)
			die("memory.reclaim");
		t += now();
		if (mincore(p, size, vec))
			die("mincore");
		again = memchr(vec, 1, size / PAGE);
	}
	close(fd);
	check_swapped(p, size, true);
	return t;
}

/* @count idlers share the pages. @flag: swapping in, not out. */
static uint64_t run_reclaim(const struct bench *b)
{
	char *p = map(b->size);
	pid_t pids[8];
	uint64_t out, in;

	touch(p, b->size);
	for (unsigned int i = 0; i < b->count; i++)
		pids[i] = fork_idler();
	/* Off the per-CPU lists, where reclaim does not see them. */
	syscall(SYS_migrate_pages, getpid(), 0, NULL, NULL);
	out = reclaim(p, b->size);
	in = now();
	look(p, b->size);
	in = now() - in;
	for (unsigned int i = 0; i < b->count; i++)
		kill_idler(pids[i]);
	unmap(p, b->size);
	return b->flag ? in : out;
}

/* Migration. An operation is a page. */

static unsigned int other_node(void)
{
	static unsigned int node;

	node = !node;
	return node;
}

/* All of the area to the other node, @count pages a call. */
static uint64_t run_move_pages(const struct bench *b)
{
	unsigned int node = other_node();
	unsigned int nr = b->size / PAGE;
	void *pages[512];
	int nodes[512], status[512];
	uint64_t t = 0;

	for (unsigned int i = 0; i < nr; i++) {
		pages[i] = area + i * PAGE;
		nodes[i] = node;
	}
	for (unsigned int i = 0; i < nr; i += b->count) {
		t -= now();
		if (syscall(SYS_move_pages, 0, b->count, pages + i, nodes + i,
			    status + i, MPOL_MF_MOVE) < 0)
			die("move_pages");
		t += now();
	}
	for (unsigned int i = 0; i < nr; i++) {
		errno = status[i] < 0 ? -status[i] : 0;
		if (status[i] != (int)node)
			die("page %u is on node %d", i, status[i]);
	}
	return t;
}

static uint64_t run_migrate_pages(const struct bench *b)
{
	unsigned int node = other_node();
	unsigned long from = 1 << !node, to = 1 << node;
	uint64_t t = now();
	long left;

	(void)b;
	left = syscall(SYS_migrate_pages, 0, 8 * sizeof(from), &from, &to);
	t = now() - t;
	if (left < 0)
		die("migrate_pages");
	return t;
}

/* One round of compaction. Returns how many pages it moved. */
static unsigned long compact(uint64_t *t)
{
	unsigned long moved = get("/proc/vmstat", "pgmigrate_success");

	*t = now();
	put("/proc/sys/vm/compact_memory", "1");
	*t = now() - *t;
	return get("/proc/vmstat", "pgmigrate_success") - moved;
}

/*
 * Memory with holes, and what it costs to move a page to fill them. How many pages
 * a round moves is chance. It ends with one that moves next to none: what that takes
 * is the search, which is taken off the others.
 */
static uint64_t run_compact(const struct bench *b)
{
	unsigned long moved = 0, more;
	unsigned int rounds = 0;
	uint64_t t = 0, search;

	setup_many(b);
	for (unsigned int i = 0; i < b->count; i++) {
		for (size_t j = 0; j < b->size; j += 2 * PAGE) {
			if (madvise(area + i * (b->size + PAGE) + j, PAGE,
				    MADV_DONTNEED))
				die("madvise");
		}
	}
	errno = 0;
	for (;;) {
		more = compact(&search);
		if (more < 100)
			break;
		t += search;
		moved += more;
		if (++rounds == 20)
			die("%lu pages moved, and no end", moved);
	}
	unmap_many(area, b->count, b->size);
	if (moved < 4000)
		die("only %lu pages moved", moved);
	return (t - rounds * search) * b->ops / moved;
}

#define SMALL_TOUCH	"0.90"
#define MANY_FORK	"0.85"
#define ANY		"1.01"

static const struct bench benches[] = {
	/* name, operation, bar, run, setup, ops, rounds, size, count, flag */
	{ "touch-anon-4k", "mmap, touch, munmap", SMALL_TOUCH, run_touch, NULL, 2000, 5, 4 * KiB, 1, 0 },
	{ "touch-anon-64k", "mmap, touch, munmap", ANY, run_touch, NULL, 350, 5, 64 * KiB, 1, 0 },
	{ "touch-anon-1m", "mmap, touch, munmap", ANY, run_touch, NULL, 24, 5, MiB, 1, 0 },
	{ "touch-anon-4m", "mmap, touch, munmap", ANY, run_touch, NULL, 6, 5, 4 * MiB, 1, 0 },
	{ "touch-file-4k", "mmap, touch, munmap", SMALL_TOUCH, run_touch, NULL, 1700, 5, 4 * KiB, 1, 1 },
	{ "touch-file-64k", "mmap, touch, munmap", ANY, run_touch, NULL, 250, 5, 64 * KiB, 1, 1 },
	{ "touch-file-1m", "mmap, touch, munmap", ANY, run_touch, NULL, 16, 5, MiB, 1, 1 },
	{ "touch-file-4m", "mmap, touch, munmap", ANY, run_touch, NULL, 5, 5, 4 * MiB, 1, 1 },
	{ "touch-threads", "64 KiB touched by 4 threads", ANY, run_threads, setup_threads, 220, 5, 64 * KiB, 1, 0 },
	{ "fault-thp", "fault of 2 MiB", ANY, run_huge, NULL, 40, 5, 2 * MiB, 1, 0 },
	{ "fault-mthp", "fault of 64 KiB", ANY, run_huge, setup_mthp, 400, 5, 64 * KiB, 1, 0 },
	{ "fork-10", "fork, exit; 10 VMAs", ANY, run_fork, setup_many, 120, 5, 4 * KiB, 10, 0 },
	{ "fork-100", "fork, exit; 100 VMAs", MANY_FORK, run_fork, setup_many, 40, 5, 4 * KiB, 100, 0 },
	{ "fork-1000", "fork, exit; 1000 VMAs", MANY_FORK, run_fork, setup_many, 6, 5, 4 * KiB, 1000, 0 },
	{ "fork-7m", "fork, exit; 7 MiB", ANY, run_fork, setup_many, 24, 5, 7 * MiB, 1, 0 },
	{ "fork-big", "fork, exit; 16 MiB", ANY, run_fork, setup_many, 12, 5, 16 * MiB, 1, 0 },
	{ "fork-write-100", "fork, write, exit; 100 VMAs", ANY, run_fork, setup_many, 22, 5, 4 * KiB, 100, 1 },
	{ "fork-once-100", "touch, fork, exit, munmap; 100 VMAs", ANY, run_fork_once, NULL, 12, 5, 4 * KiB, 100, 0 },
	{ "fork-2nd-100", "fork, exit by a child; 100 VMAs", ANY, run_fork, setup_generation_2, 40, 5, 4 * KiB, 100, 0 },
	{ "fork-3rd-100", "fork, exit by a grandchild; 100 VMAs", ANY, run_fork, setup_generation_3, 35, 5, 4 * KiB, 100, 0 },
	{ "fork-idle-100", "fork, exit by a child that wrote nothing", ANY, run_fork, setup_idle_child, 40, 5, 4 * KiB, 100, 0 },
	{ "fork-exec", "fork, exec, exit", ANY, run_fork_exec, NULL, 50, 5, 0, 0, 0 },
	{ "exec", "exec", ANY, run_exec, NULL, 80, 5, 0, 0, 0 },
	{ "exit-1000", "exit; 1000 VMAs", "0.90", run_exit, NULL, 3, 5, 4 * KiB, 1000, 0 },
	{ "mprotect", "split and merge", "0.90", run_mprotect, setup_area, 2000, 5, 64 * KiB, 1, 0 },
	{ "hole", "munmap, mmap, touch in the middle", ANY, run_hole, setup_area, 1500, 5, 64 * KiB, 1, 0 },
	{ "mremap-16k", "first move", ANY, run_mremap, NULL, 500, 5, 16 * KiB, 1, 0 },
	{ "mremap-16k-again", "second move", ANY, run_mremap, NULL, 500, 5, 16 * KiB, 1, 1 },
	{ "mremap-1900k", "first move", ANY, run_mremap, NULL, 8, 5, 1900 * KiB, 1, 0 },
	{ "mremap-1900k-again", "second move", ANY, run_mremap, NULL, 8, 5, 1900 * KiB, 1, 1 },
	{ "mremap-7m", "first move", ANY, run_mremap, NULL, 4, 5, 7 * MiB, 1, 0 },
	{ "mremap-15m", "first move", ANY, run_mremap, NULL, 2, 5, 15 * MiB, 1, 0 },
	{ "mremap-64m", "first move", ANY, run_mremap, NULL, 1, 3, 64 * MiB, 1, 0 },
	{ "mremap-64m-again", "second move", ANY, run_mremap, NULL, 1, 3, 64 * MiB, 1, 1 },
	{ "realloc", "grow from 64 KiB to 4 MiB", ANY, run_realloc, NULL, 5, 5, 4 * MiB, 1, 0 },
	{ "pageout", "MADV_PAGEOUT, a page", ANY, run_pageout, setup_area, 256, 5, MiB, 1, 0 },
	{ "swapin", "swap-in, a page", ANY, run_swapin, setup_area, 256, 5, MiB, 1, 0 },
	{ "pageout-parent", "pageout, parent of 100", ANY, run_pageout, setup_children, 256, 5, MiB, 100, 0 },
	{ "swapin-parent", "swapin, parent of 100", ANY, run_swapin, setup_children, 256, 5, MiB, 100, 0 },
	{ "pageout-child", "pageout by a child", ANY, run_pageout, setup_child, 256, 5, MiB, 1, 0 },
	{ "swapin-child", "swapin by a child", ANY, run_swapin, setup_child, 256, 5, MiB, 1, 0 },
	{ "reclaim", "memory.reclaim, a page", ANY, run_reclaim, setup_cgroup, 256, 5, MiB, 0, 0 },
	{ "reclaim-shared", "memory.reclaim, shared by 2", ANY, run_reclaim, setup_cgroup, 256, 5, MiB, 1, 0 },
	{ "swapin-shared", "swap-in, shared by 2", ANY, run_reclaim, setup_cgroup, 256, 5, MiB, 1, 1 },
	{ "move-1", "move_pages, a page of 1", ANY, run_move_pages, setup_area, 256, 5, MiB, 1, 0 },
	{ "move-16", "move_pages, a page of 16", ANY, run_move_pages, setup_area, 256, 5, MiB, 16, 0 },
	{ "move-256", "move_pages, a page of 256", ANY, run_move_pages, setup_area, 256, 5, MiB, 256, 0 },
	{ "migrate-256", "migrate_pages, a page", ANY, run_migrate_pages, setup_area, 256, 5, MiB, 0, 0 },
	{ "compact", "compaction, a page", ANY, run_compact, NULL, 10, 6, MiB, 288, 0 },
};

#define NR_BENCHES (sizeof(benches) / sizeof(benches[0]))

/* Is the clock what we take it for? A loop of two instructions tells. */
static void check_clock(void)
{
	uint64_t t;

	settle();
	t = instructions();
	for (unsigned long n = 500000; n;) {
#ifdef __x86_64__
		asm volatile("1: dec %0; jnz 1b" : "+r"(n));
#elif defined(__aarch64__)
		asm volatile("1: subs %0, %0, #1; b.ne 1b" : "+r"(n) : : "cc");
#endif
	}
	t = instructions() - t;
	if (t < 999000 || t > 1010000) {
		errno = EINVAL;
		die("1000000 instructions took %llu: run this with -icount shift=0",
		    (unsigned long long)t);
	}
}

static int run(const char *name)
{
	uint64_t best = UINT64_MAX, sum = 0;
	const struct bench *b = benches;

	while (b < benches + NR_BENCHES && strcmp(b->name, name))
		b++;
	errno = EINVAL;
	if (b == benches + NR_BENCHES)
		die("no case %s", name);
	running = name;
	alarm(CASE_LIMIT);
	if (b->setup)
		b->setup(b);

	/* One round more, to fill the caches of the kernel's allocators. */
	for (unsigned int i = 0; i <= b->rounds; i++) {
		uint64_t t;

		settle();
		t = b->run(b);
		if (!i)
			continue;
		sum += t;
		if (t < best)
			best = t;
	}
	dprintf(STDOUT_FILENO, "%s\t%s\t%s\t%u\t%u\t%.1f\t%.1f\n", name, b->op, b->bar,
		b->ops, b->rounds, (double)best / b->ops, (double)sum / b->rounds / b->ops);
	/* Idlers go with us. */
	return 0;
}

/* What would run beside us, and what cases need. */
static void setup_guest(void)
{
	static char zero[4 * MiB];
	int fd;

	put("/sys/kernel/mm/transparent_hugepage/enabled", "madvise");
	put("/sys/kernel/mm/transparent_hugepage/defrag", "madvise");
	put("/sys/kernel/mm/transparent_hugepage/khugepaged/scan_sleep_millisecs",
	    "1000000000");
	put("/proc/sys/vm/page-cluster", "0");

	fd = open(FILE_NAME, O_WRONLY | O_CREAT, 0600);
	if (fd < 0 || write(fd, zero, sizeof(zero)) != sizeof(zero) || close(fd))
		die(FILE_NAME);

	if (mkdir(CGROUP, 0755) || mount("bench", CGROUP, "cgroup2", 0, NULL))
		die(CGROUP);
	put(CGROUP "/cgroup.subtree_control", "+memory");
	if (mkdir(CGROUP "/bench", 0755))
		die(CGROUP);

	/* Let pass what the kernel does in its first seconds: idling is free. */
	sleep(20);
}

static bool run_alone(const char *name)
{
	pid_t pid = do_fork();
	int status, other;

	if (!pid) {
		execl("/proc/self/exe", "bench", "-r", name, NULL);
		die("exec");
	}
	if (waitpid(pid, &status, 0) != pid)
		die("waitpid");
	while (waitpid(-1, &other, 0) > 0)
		;
	if (status)
		fprintf(stderr, "bench: %s: status 0x%x\n", name, status);
	return status;
}

int main(int argc, char **argv)
{
	bool failed = false;

	/* See run_exec(). */
	if (argc == 3 && !strcmp(argv[1], "-e")) {
		char left[16];

		if (atoi(argv[2]) < 2)
			return 0;
		snprintf(left, sizeof(left), "%d", atoi(argv[2]) - 1);
		execl("/proc/self/exe", "bench", "-e", left, NULL);
		return 1;
	}
	if (argc == 3 && !strcmp(argv[1], "-r"))
		return run(argv[2]);

	check_clock();
	setup_guest();
	/* Orphans of a case end before the next one begins. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);
	if (argc > 1) {
		for (int i = 1; i < argc; i++)
			failed |= run_alone(argv[i]);
		return failed;
	}
	for (unsigned int i = 0; i < NR_BENCHES; i++) {
		fprintf(stderr, "bench: %u of %zu: %s\n", i + 1, NR_BENCHES,
			benches[i].name);
		failed |= run_alone(benches[i].name);
	}
	return failed;
}
