// SPDX-License-Identifier: GPL-2.0
/*
 * Races of everything that shares, moves, reclaims, migrates or merges private
 * memory, against each other, for a given time.
 *
 * A tree of processes, each with a few threads, works on an area of slots.  A
 * thread takes a slot and does something to it: write, check, unmap, move,
 * split, page out, migrate, let KSM have it, UFFDIO_MOVE it to another one.
 * What each page must hold is noted beside it, so each check is exact; a child
 * inherits the notes with the memory.  Slots are neighbours, so that their VMAs
 * merge, and what is done to one splits the VMA of others.
 *
 * Meanwhile the main process reclaims, compacts, switches swap off and on,
 * toggles vm.anon_vma_lazy and kills processes in the middle of what they do.
 *
 * What a thread does follows from the seed.  When it does it does not.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/mempolicy.h>
#include <linux/userfaultfd.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/swap.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "vm_util.h"

#define SWITCH		"/proc/sys/vm/anon_vma_lazy"
#define KSM		"/sys/kernel/mm/ksm/"
#define THP		"/sys/kernel/mm/transparent_hugepage/"

#define BIG_DISTANCE	1024	/* between the two areas of a big slot: whole page tables */
#define AREA_PAGES	8192
#define MAX_PROCS	64
#define MAX_THREADS	8
#define MAX_LEVEL	5
#define NR_SMALL	40
#define SMALL_PAGES	24	/* no power of two: large folios cross slots */
#define NR_SLOTS	42
#define BIG_PAGES	768	/* can have a huge page, and is never lazy at once */
#define COMMON		0xc0de000000000000UL

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE	25
#endif

struct shared {
	struct timespec end;
	bool stop;
	int failures;
	int nr_ops;
	int nr_forks;
	pid_t pid[MAX_PROCS];
};

/* Private memory: a fork copies it together with what it is about. */
struct slot {
	pthread_mutex_t lock;
	int home;		/* in which of the two areas it is mapped */
	bool mapped;
	bool file;
	size_t pages;
	char *at[2];
	unsigned long want[BIG_PAGES];
};

struct thread {
	pthread_t id;
	uint64_t rand;
};

static struct shared *sh;
static struct slot slots[NR_SLOTS];
static char *area;
static int backing = -1;
static int level;
static int nr_threads = 2, max_procs = 16;
static uint64_t seed = 1;
static bool use_swapoff, fail_allocs;
static unsigned long next_stamp = 1;

static void __printf(1, 2) failure(const char *fmt, ...)
{
	char buf[256];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(buf, sizeof(buf), fmt, ap);
	va_end(ap);
	if (__atomic_fetch_add(&sh->failures, 1, __ATOMIC_SEQ_CST) < 10)
		dprintf(STDOUT_FILENO, "# [%d, level %d] %s\n", getpid(), level, buf);
}

static uint32_t rnd(uint64_t *state, uint32_t n)
{
	*state ^= *state << 13;
	*state ^= *state >> 7;
	*state ^= *state << 17;
	return (*state >> 20) % n;
}

static bool put(const char *path, const char *val)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok;

	if (fd < 0)
		return false;
	ok = write(fd, val, strlen(val)) == (ssize_t)strlen(val);
	close(fd);
	return ok;
}

static bool get(const char *path, char *buf, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t len;

	if (fd < 0)
		return false;
	len = read(fd, buf, size - 1);
	close(fd);
	buf[len > 0 ? len : 0] = '\0';
	return len > 0;
}

static bool time_is_up(void)
{
	struct timespec now;

	if (__atomic_load_n(&sh->stop, __ATOMIC_RELAXED))
		return true;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec > sh->end.tv_sec ||
	       (now.tv_sec == sh->end.tv_sec && now.tv_nsec > sh->end.tv_nsec);
}

static size_t len(size_t n)
{
	return n * psize();
}

static char *slot_addr(int nr)
{
	return slots[nr].at[slots[nr].home];
}

/* What must work may fail for want of memory, if that is asked for. */
#define insist(call)							\
({									\
	long ret_;							\
	int try_ = 0;							\
									\
	do {								\
		ret_ = (long)(call);					\
	} while (ret_ == -1 && try_++ < 1000 &&				\
		 (errno == ENOMEM || errno == EAGAIN));			\
	if (ret_ == -1)							\
		failure("%s: %s", #call, strerror(errno));		\
	ret_ != -1;							\
})

static void *map_fixed(char *p, size_t n, int prot, int flags, int fd, off_t off)
{
	return mmap(p, len(n), prot, MAP_PRIVATE | MAP_FIXED | flags, fd, off);
}

/* Reserved address space: nobody else maps anything there */
static void unmap_slot(int nr, int home)
{
	insist(map_fixed(slots[nr].at[home], slots[nr].pages, PROT_NONE,
			 MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
}

static void map_pages(int nr, size_t first, size_t n)
{
	char *p = slot_addr(nr) + len(first);

	if (slots[nr].file)
		insist(map_fixed(p, n, PROT_READ | PROT_WRITE, 0, backing,
				 p - area));
	else
		insist(map_fixed(p, n, PROT_READ | PROT_WRITE, MAP_ANONYMOUS,
				 -1, 0));
	memset(&slots[nr].want[first], 0, n * sizeof(long));
}

static void discard_slot(int nr)
{
	struct slot *s = &slots[nr];

	unmap_slot(nr, 0);
	unmap_slot(nr, 1);
	s->mapped = false;
}

static void check_page(int nr, size_t page)
{
	unsigned long *p = (unsigned long *)(slot_addr(nr) + len(page));
	unsigned long want = slots[nr].want[page];
	size_t last = psize() / sizeof(*p) - 1;

	if (FORCE_READ(p[0]) != want || FORCE_READ(p[last]) != want ||
	    FORCE_READ(p[last / 2]) != want)
		failure("slot %d page %zu at %p: %#lx %#lx %#lx instead of %#lx",
			nr, page, p, p[0], p[last / 2], p[last], want);
}

static void write_page(int nr, size_t page, uint64_t *r)
{
	unsigned long *p = (unsigned long *)(slot_addr(nr) + len(page));
	size_t last = psize() / sizeof(*p) - 1;
	unsigned long stamp;

	check_page(nr, page);
	if (rnd(r, 4))
		stamp = __atomic_fetch_add(&next_stamp, 1, __ATOMIC_RELAXED) << 16 |
			nr << 8 | page;
	else
		stamp = COMMON | rnd(r, 3);
	p[0] = stamp;
	p[last / 2] = stamp;
	p[last] = stamp;
	slots[nr].want[page] = stamp;
}

static void check_slot(int nr)
{
	struct slot *s = &slots[nr];

	/* Of the big ones most is empty, and may stay so. */
	for (size_t i = 0; s->mapped && i < s->pages; i++)
		if (s->want[i] || s->pages == SMALL_PAGES || i % 32 == 0)
			check_page(nr, i);
}

static void move_slot(int nr, uint64_t *r)
{
	struct slot *s = &slots[nr];
	int flags = MREMAP_MAYMOVE | MREMAP_FIXED;
	char *from = slot_addr(nr), *to = s->at[!s->home];
	bool keep = !rnd(r, 4);

	if (keep)
		flags |= MREMAP_DONTUNMAP;
	if (mremap(from, len(s->pages), len(s->pages), flags, to) == to) {
		/* What is left there is empty; it goes, at some time. */
		if (keep)
			for (int i = 0; i < 4; i++)
				FORCE_READ(from[rnd(r, len(s->pages))]);
		unmap_slot(nr, s->home);
		s->home = !s->home;
		return;
	}
	/* Part of it may have been moved, e.g. one of several VMAs. */
	if (errno != ENOMEM && errno != EAGAIN && !keep)
		failure("mremap of slot %d: %s", nr, strerror(errno));
	discard_slot(nr);
}

static void protect_slot(int nr, size_t first, size_t n)
{
	char *p = slot_addr(nr) + len(first);

	if (mprotect(p, len(n), PROT_READ) && errno != ENOMEM)
		failure("mprotect: %s", strerror(errno));
	for (size_t i = first; i < first + n; i++)
		check_page(nr, i);
	insist(mprotect(p, len(n), PROT_READ | PROT_WRITE));
}

static void migrate_slot(int nr, size_t first, size_t n, uint64_t *r)
{
	int nodes[BIG_PAGES], status[BIG_PAGES], node = rnd(r, 2);
	char *p = slot_addr(nr) + len(first);
	void *pages[BIG_PAGES];

	for (size_t i = 0; i < n; i++) {
		pages[i] = p + len(i);
		nodes[i] = node;
	}
	/* It need not succeed; it must not lose anything. */
	syscall(__NR_move_pages, 0, n, pages, nodes, status, MPOL_MF_MOVE_ALL);
}

/* UFFDIO_MOVE of one anonymous slot to another, both of them locked */
static void uffd_move_slot(int from, int to)
{
	struct uffdio_api api = {
		.api = UFFD_API,
		.features = UFFD_FEATURE_MOVE,
	};
	size_t n = slots[from].pages, moved = 0;
	struct uffdio_move mv = {
		.dst = (unsigned long)slot_addr(to),
		.src = (unsigned long)slot_addr(from),
		.len = len(n),
		.mode = UFFDIO_MOVE_MODE_ALLOW_SRC_HOLES,
	};
	int fd = syscall(__NR_userfaultfd, O_CLOEXEC | O_NONBLOCK);

	if (fd < 0)
		return;
	if (ioctl(fd, UFFDIO_API, &api))
		goto out;
	if (uffd_register(fd, slot_addr(to), len(n), true, false, false))
		goto out;
	insist(madvise(slot_addr(to), len(n), MADV_DONTNEED));
	memset(slots[to].want, 0, sizeof(slots[to].want));
	for (int try = 0; try < 4 && mv.len; try++) {
		mv.move = 0;
		if (!ioctl(fd, UFFDIO_MOVE, &mv))
			mv.move = mv.len;
		if (mv.move <= 0)
			continue;
		mv.dst += mv.move;
		mv.src += mv.move;
		mv.len -= mv.move;
	}
	moved = n - mv.len / psize();
	memcpy(slots[to].want, slots[from].want, moved * sizeof(long));
	memset(slots[from].want, 0, moved * sizeof(long));
	insist(uffd_unregister(fd, slot_addr(to), len(n)) ? -1 : 0);
out:
	/* Whatever is registered is no more after this. */
	close(fd);
}

static void use_slot(int nr, uint64_t *r)
{
	struct slot *s = &slots[nr];
	size_t first = rnd(r, s->pages), n = 1 + rnd(r, s->pages - first);
	char *p;

	if (!s->mapped) {
		s->home = rnd(r, 2);
		s->mapped = true;
		map_pages(nr, 0, s->pages);
	}
	p = slot_addr(nr) + len(first);
	switch (rnd(r, 20)) {
	case 0 ... 4:
		for (size_t i = first; i < first + n && i < first + 32; i++)
			write_page(nr, i, r);
		break;
	case 5 ... 6:
		check_slot(nr);
		break;
	case 7 ... 8:
		move_slot(nr, r);
		break;
	case 9:
		protect_slot(nr, first, n);
		break;
	case 10:
		/* A hole, filled again */
		map_pages(nr, first, n);
		break;
	case 11:
		discard_slot(nr);
		break;
	case 12:
		insist(madvise(p, len(n), MADV_DONTNEED));
		memset(&s->want[first], 0, n * sizeof(long));
		break;
	case 13 ... 14:
		madvise(p, len(n), MADV_PAGEOUT);
		break;
	case 15:
		migrate_slot(nr, first, n, r);
		break;
	case 16:
		madvise(slot_addr(nr), len(s->pages),
			rnd(r, 3) ? MADV_MERGEABLE : MADV_UNMERGEABLE);
		break;
	case 17: {
		int to = rnd(r, NR_SLOTS);

		if (to == nr || pthread_mutex_trylock(&slots[to].lock))
			break;
		if (slots[to].mapped && slots[to].pages == s->pages)
			uffd_move_slot(nr, to);
		pthread_mutex_unlock(&slots[to].lock);
		break;
	}
	case 18:
		/* Regardless of who has it, or where it is: contents stay. */
		s = &slots[NR_SMALL + rnd(r, NR_SLOTS - NR_SMALL)];
		madvise(s->at[rnd(r, 2)], len(BIG_PAGES), MADV_COLLAPSE);
		break;
	case 19:
		/* Locked it may be although that failed. */
		mlock(p, len(n));
		insist(munlock(p, len(n)));
		break;
	}
}

static void *thread_main(void *arg)
{
	struct thread *t = arg;

	while (!time_is_up()) {
		int nr = rnd(&t->rand, NR_SLOTS);

		if (pthread_mutex_trylock(&slots[nr].lock))
			continue;
		use_slot(nr, &t->rand);
		pthread_mutex_unlock(&slots[nr].lock);
		__atomic_fetch_add(&sh->nr_ops, 1, __ATOMIC_RELAXED);
	}
	return NULL;
}

static void on_fault(int sig, siginfo_t *info, void *ctx)
{
	failure("signal %d, code %d at %p", sig, info->si_code, info->si_addr);
	_exit(1);
}

static void process_main(uint64_t rand);

/* Threads go on while we fork: a slot that one of them holds is void. */
static bool start_process(uint64_t rand)
{
	bool held[NR_SLOTS], calm;
	pid_t pid;
	int i;

	for (i = 0; i < max_procs; i++) {
		pid_t none = 0;

		if (__atomic_compare_exchange_n(&sh->pid[i], &none, -1, false,
						__ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
			break;
	}
	if (i == max_procs)
		return false;
	for (int nr = 0; nr < NR_SLOTS; nr++)
		held[nr] = !pthread_mutex_trylock(&slots[nr].lock);
	/* With one of ten allocations failing no fork would ever succeed. */
	calm = fail_allocs && rand % 8;
	if (calm)
		put("/proc/self/make-it-fail", "0");
	pid = fork();
	if (calm)
		put("/proc/self/make-it-fail", "1");
	if (!pid) {
		level++;
		sh->pid[i] = getpid();
		for (int nr = 0; nr < NR_SLOTS; nr++) {
			pthread_mutex_init(&slots[nr].lock, NULL);
			if (!held[nr])
				discard_slot(nr);
			else
				check_slot(nr);
		}
		process_main(rand);
	}
	for (int nr = 0; nr < NR_SLOTS; nr++)
		if (held[nr])
			pthread_mutex_unlock(&slots[nr].lock);
	if (pid < 0)
		sh->pid[i] = 0;
	else
		__atomic_fetch_add(&sh->nr_forks, 1, __ATOMIC_RELAXED);
	return pid > 0;
}

static void __noreturn process_main(uint64_t rand)
{
	struct thread threads[MAX_THREADS];
	int nr, rounds;

	for (nr = 0; nr < nr_threads; nr++) {
		threads[nr].rand = rand * (2 * nr + 3) + 1;
		if (pthread_create(&threads[nr].id, NULL, thread_main, &threads[nr]))
			break;
	}
	/* Some end soon, some stay, and so parents die before their children. */
	rounds = 4 + rnd(&rand, 200);
	while (!time_is_up() && rounds--) {
		usleep(1000 + rnd(&rand, 40000));
		if (level < MAX_LEVEL && !rnd(&rand, 4))
			start_process(rand * 31 + rounds);
	}
	/* Its threads are in the middle of something. */
	_exit(0);
}

/* What only one has to do */
static void disturb(uint64_t *r, const char *memcg, const char *swap)
{
	char path[PATH_MAX], buf[512];

	switch (rnd(r, 16)) {
	case 0 ... 6:
		/* Without this, memory.reclaim sees list sizes of long ago. */
		snprintf(path, sizeof(path), "%s/memory.stat", memcg);
		get(path, buf, sizeof(buf));
		snprintf(path, sizeof(path), "%s/memory.reclaim", memcg);
		put(path, rnd(r, 2) ? "2M swappiness=max" : "8M swappiness=max");
		break;
	case 7 ... 8:
		put(SWITCH, rnd(r, 2) ? "1" : "0");
		break;
	case 9 ... 10: {
		pid_t pid = sh->pid[rnd(r, max_procs)];

		if (pid > 0)
			kill(pid, SIGKILL);
		break;
	}
	case 11:
		put("/proc/sys/vm/compact_memory", "1");
		break;
	case 12:
		put("/proc/sys/vm/drop_caches", "3");
		break;
	case 13:
		put(THP "hugepages-64kB/enabled", rnd(r, 2) ? "always" : "never");
		break;
	case 14:
		put(KSM "run", rnd(r, 3) ? "1" : "2");
		break;
	case 15:
		if (!*swap || rnd(r, 2))
			break;
		if (!swapoff(swap))
			insist(swapon(swap, 0));
		break;
	}
}

static int reap_table(void)
{
	static int claimed[MAX_PROCS];
	int nr = 0;

	while (waitpid(-1, NULL, WNOHANG) > 0)
		;
	for (int i = 0; i < max_procs; i++) {
		pid_t pid = sh->pid[i];

		/* Its parent, or itself, may have been killed at once. */
		claimed[i] = pid == -1 ? claimed[i] + 1 : 0;
		if (claimed[i] > 100 || (pid > 0 && kill(pid, 0) && errno == ESRCH))
			sh->pid[i] = 0;
		nr += !!sh->pid[i];
	}
	return nr;
}

/* Small slots are neighbours, every third one of a file from the middle on */
static void place_slots(void)
{
	for (int nr = 0; nr < NR_SLOTS; nr++) {
		struct slot *s = &slots[nr];

		pthread_mutex_init(&s->lock, NULL);
		if (nr < NR_SMALL) {
			s->pages = SMALL_PAGES;
			s->file = backing >= 0 && nr > NR_SMALL / 2 && nr % 3 == 0;
			/* Another place in the page table: PTEs are moved. */
			s->at[0] = area + nr * len(SMALL_PAGES);
			s->at[1] = s->at[0] + len(1543);
		} else {
			/* The same place: whole tables are. */
			s->pages = BIG_PAGES;
			s->at[0] = area + len((3 + 2 * (nr - NR_SMALL)) * BIG_DISTANCE);
			s->at[1] = s->at[0] + len(BIG_DISTANCE);
		}
	}
}

/* One zram, and nothing else: else swap is somebody's */
static void find_swap(char *dev, size_t size)
{
	char line[256], name[128];
	FILE *f = fopen("/proc/swaps", "r");
	int nr = 0;

	*dev = '\0';
	if (!f)
		return;
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line, "%127s", name) == 1 && name[0] == '/') {
			snprintf(dev, size, "%s", name);
			nr++;
		}
	}
	fclose(f);
	if (!nr)
		ksft_exit_skip("no swap\n");
	if (nr != 1 || strncmp(dev, "/dev/zram", 9) || !use_swapoff)
		*dev = '\0';
}

static void make_memcg(char *memcg, size_t size)
{
	char path[PATH_MAX], line[256], root[128] = "";
	FILE *f = fopen("/proc/mounts", "r");

	while (f && fgets(line, sizeof(line), f)) {
		char dir[128], type[32];

		if (sscanf(line, "%*s %127s %31s", dir, type) == 2 &&
		    !strcmp(type, "cgroup2"))
			snprintf(root, sizeof(root), "%s", dir);
	}
	if (f)
		fclose(f);
	snprintf(path, sizeof(path), "%s/cgroup.subtree_control", root);
	if (!*root || !put(path, "+memory"))
		ksft_exit_skip("no memory controller\n");
	snprintf(memcg, size, "%s/anon_vma_lazy_stress.%d", root, getpid());
	if (mkdir(memcg, 0755))
		ksft_exit_skip("cannot make a cgroup\n");
}

/* One slab allocation of ten fails, for those that ask for it */
static bool fail_setup(void)
{
	return put("/sys/kernel/debug/failslab/task-filter", "Y") &&
	       put("/sys/kernel/debug/failslab/ignore-gfp-wait", "N") &&
	       put("/sys/kernel/debug/failslab/verbose", "0") &&
	       put("/sys/kernel/debug/failslab/times", "-1") &&
	       put("/sys/kernel/debug/failslab/probability", "10");
}

static void setup_process(const char *memcg)
{
	struct sigaction sa = {
		.sa_sigaction = on_fault,
		.sa_flags = SA_SIGINFO,
	};
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "%s/cgroup.procs", memcg);
	put(path, "0");
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	signal(SIGCHLD, SIG_IGN);
	sigaction(SIGSEGV, &sa, NULL);
	sigaction(SIGBUS, &sa, NULL);
	if (fail_allocs)
		put("/proc/self/make-it-fail", "1");
}

int main(int argc, char **argv)
{
	char memcg[PATH_MAX - 64], swap[128], old[8] = "", old_run[8] = "", old_sleep[16] = "";
	int opt, seconds = 10, left;
	struct timespec now;
	uint64_t r;

	while ((opt = getopt(argc, argv, "s:t:p:n:ofh")) != -1) {
		switch (opt) {
		case 's':
			seed = strtoull(optarg, NULL, 0);
			break;
		case 't':
			seconds = atoi(optarg);
			break;
		case 'p':
			max_procs = atoi(optarg);
			break;
		case 'n':
			nr_threads = atoi(optarg);
			break;
		case 'o':
			use_swapoff = true;
			break;
		case 'f':
			fail_allocs = true;
			break;
		default:
			printf("usage: %s [-s SEED] [-t SECONDS] [-p PROCESSES]\n"
			       "\t[-n THREADS] [-o: swapoff] [-f: make-it-fail]\n",
			       argv[0]);
			return opt == 'h' ? KSFT_SKIP : KSFT_FAIL;
		}
	}
	ksft_print_header();
	ksft_set_plan(1);
	if (geteuid())
		ksft_exit_skip("must be root\n");
	if (max_procs < 1 || max_procs > MAX_PROCS || nr_threads < 1 ||
	    nr_threads > MAX_THREADS)
		ksft_exit_fail_msg("1 to %d processes of 1 to %d threads\n",
				   MAX_PROCS, MAX_THREADS);
	if (fail_allocs && !fail_setup())
		ksft_exit_skip("no failslab\n");
	find_swap(swap, sizeof(swap));
	make_memcg(memcg, sizeof(memcg));
	get(SWITCH, old, sizeof(old));
	ksft_print_msg("seed %llu, %d s, %d processes of %d threads%s%s\n",
		       (unsigned long long)seed, seconds, max_procs, nr_threads,
		       *swap ? ", swapoff" : "", *old ? "" : ", no " SWITCH);

	sh = mmap(NULL, sizeof(*sh), PROT_READ | PROT_WRITE,
		  MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	area = mmap(NULL, len(AREA_PAGES + BIG_DISTANCE), PROT_NONE,
		    MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (sh == MAP_FAILED || area == MAP_FAILED)
		ksft_exit_fail_msg("no memory\n");
	area = (char *)(((unsigned long)area + len(BIG_DISTANCE) - 1) & -len(BIG_DISTANCE));
	backing = memfd_create("anon_vma_lazy", MFD_CLOEXEC);
	if (backing >= 0 && ftruncate(backing, len(AREA_PAGES)))
		backing = -1;
	place_slots();
	clock_gettime(CLOCK_MONOTONIC, &sh->end);
	sh->end.tv_sec += seconds;
	get(KSM "run", old_run, sizeof(old_run));
	get(KSM "sleep_millisecs", old_sleep, sizeof(old_sleep));
	put(KSM "sleep_millisecs", "5");
	put(KSM "run", "1");
	/* The ones that lose their parent become ours. */
	prctl(PR_SET_CHILD_SUBREAPER, 1);

	r = seed * 0x9e3779b97f4a7c15ULL + 1;
	for (int round = 0; !time_is_up(); round++) {
		if (reap_table() < (max_procs + 1) / 2) {
			pid_t pid;
			int i = 0;

			while (i < max_procs - 1 && sh->pid[i])
				i++;
			pid = sh->pid[i] ? -1 : fork();
			if (!pid) {
				sh->pid[i] = getpid();
				setup_process(memcg);
				process_main(r + round);
			}
			if (pid > 0)
				sh->pid[i] = pid;
		}
		disturb(&r, memcg, swap);
		usleep(rnd(&r, 20000));
		if (__atomic_load_n(&sh->failures, __ATOMIC_RELAXED) > 10)
			break;
	}
	__atomic_store_n(&sh->stop, true, __ATOMIC_SEQ_CST);
	/* One that does not end hangs in the kernel. */
	for (int i = 0; i < 600 && reap_table(); i++)
		usleep(100000);
	left = reap_table();
	for (int i = 0; i < max_procs; i++) {
		if (sh->pid[i] <= 0)
			continue;
		failure("process %d does not end", sh->pid[i]);
		kill(sh->pid[i], SIGKILL);
	}
	if (*old)
		put(SWITCH, old);
	if (fail_allocs)
		put("/sys/kernel/debug/failslab/probability", "0");
	put(KSM "run", "2");
	put(KSM "run", old_run);
	put(KSM "sleep_millisecs", old_sleep);
	rmdir(memcg);
	clock_gettime(CLOCK_MONOTONIC, &now);
	ksft_print_msg("%d operations, %d forks below the first, %d failures, %d left\n",
		       sh->nr_ops, sh->nr_forks, sh->failures, left);
	ksft_test_result(!sh->failures && sh->nr_ops, "anon_vma_lazy_stress\n");
	ksft_finished();
}
