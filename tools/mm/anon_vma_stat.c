// SPDX-License-Identifier: GPL-2.0
/*
 * anon_vma_stat: what reverse mapping of anonymous memory costs, now or
 * between two snapshots: slab objects, VMAs, and the lazy counters.
 *
 * "active" is the count of /proc/slabinfo as it stands, and includes free
 * objects that are cached per CPU. "in use" is the same count after
 * /sys/kernel/slab/NAME/shrink has flushed those, once it has come to rest
 * (frees may wait for RCU).
 *
 * Caches that were merged share their slabs, and their counts. For those there
 * is the word "merged" and no number; boot with slab_nomerge to tell them apart.
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))
#define VERSION		1
#define NONE		(-1LL)	/* a number that could not be had */
#define MAX_NUMBER	9007199254740992LL /* 2^53, as in JSON; sums fit */
#define MAX_COUNTERS	64
#define COUNTER		"anon_vma_lazy_"

enum { EXIT_USAGE = 2 };

static const char * const names[] = {
	"anon_vma", "anon_vma_chain", "vm_area_struct", "mm_struct",
	"maple_node",
};

#define NR_CACHES	ARRAY_SIZE(names)

enum state { ABSENT, MERGED, OK };
static const char * const states[] = { "absent", "merged", "ok" };

static const char * const fields[] = { "active", "in use", "KB", "size" };
static const char * const keys[] = { "active", "in_use", "kb", "object_size" };

enum { ACTIVE, IN_USE, KB, SIZE, NR_FIELDS };

struct cache {
	enum state state;
	long long value[NR_FIELDS];
};

struct counter {
	char name[64];
	long long value;
};

struct snapshot {
	long long time;
	char kernel[128];
	long long lazy;		/* vm.anon_vma_lazy, or NONE */
	struct cache cache[NR_CACHES];
	long long vmas;
	long long processes;
	size_t nr_counters;
	struct counter counter[MAX_COUNTERS];
};

static const char *root = "";

/* Digits and nothing else. */
static bool number(const char *s, long long *value)
{
	char *end;

	if (!s || !isdigit((unsigned char)*s))
		return false;
	*value = strtoll(s, &end, 10);
	return *value <= MAX_NUMBER && !*end;
}

/* What to do about errno */
static const char *advice(void)
{
	return geteuid() && (errno == EACCES || errno == EPERM) ? " (be root)" : "";
}

/* The path of DIR, or of DIR/NAME/FILE, below the root. */
static void in_root(char *path, size_t size, const char *dir, const char *name,
		    const char *file)
{
	int n;

	n = name ? snprintf(path, size, "%s%s/%s/%s", root, dir, name, file) :
		   snprintf(path, size, "%s%s", root, dir);
	if (n < 0 || (size_t)n >= size)
		errx(EXIT_FAILURE, "%s: the name is too long", root);
}

/* The first line of a file below the root, without its end. */
static bool read_word(const char *path, char *word, size_t size)
{
	bool good;
	FILE *f;

	errno = 0;
	f = fopen(path, "r");
	if (!f)
		return false;
	good = fgets(word, size, f);
	fclose(f);
	if (good)
		word[strcspn(word, "\n")] = 0;
	return good;
}

static void read_slabinfo(struct cache *caches)
{
	unsigned long active, total, size, per_slab, pages, slabs;
	char path[PATH_MAX], line[512], name[64];
	bool known = false;
	FILE *f;

	in_root(path, sizeof(path), "/proc/slabinfo", NULL, NULL);
	f = fopen(path, "r");
	if (!f && errno == ENOENT)
		err(EXIT_FAILURE, "%s (CONFIG_SLUB_DEBUG=y)", path);
	if (!f)
		err(EXIT_FAILURE, "%s%s", path, advice());
	while (fgets(line, sizeof(line), f)) {
		if (sscanf(line,
			   "%63s %lu %lu %lu %lu %lu : tunables %*u %*u %*u : slabdata %*u %lu",
			   name, &active, &total, &size, &per_slab, &pages,
			   &slabs) != 7)
			continue;
		known = true;
		for (size_t i = 0; i < NR_CACHES; i++) {
			struct cache *c = &caches[i];

			if (strcmp(name, names[i]))
				continue;
			c->state = OK;
			c->value[ACTIVE] = active;
			c->value[SIZE] = size;
			c->value[KB] = (unsigned long long)slabs * pages *
				       (sysconf(_SC_PAGESIZE) / 1024);
		}
	}
	if (ferror(f))
		err(EXIT_FAILURE, "%s", path);
	fclose(f);
	if (!known)
		errx(EXIT_FAILURE, "%s: not a format that is known here", path);
}

/*
 * Who shares slabs? A cache that was merged into another one is not listed in
 * slabinfo; one that others were merged into is, with the objects of them all.
 */
static void find_merged(struct cache *caches)
{
	char path[PATH_MAX], word[32];
	long long aliases;
	bool sysfs;

	in_root(path, sizeof(path), "/sys/kernel/slab", NULL, NULL);
	sysfs = !access(path, F_OK);
	if (!sysfs)
		warnx("%s is missing (SLUB with sysfs): merged caches cannot be told",
		      path);
	for (size_t i = 0; i < NR_CACHES; i++) {
		struct cache *c = &caches[i];

		in_root(path, sizeof(path), "/sys/kernel/slab", names[i], "");
		if (c->state == ABSENT) {
			if (!sysfs || !access(path, F_OK))
				c->state = MERGED;
			continue;
		}
		in_root(path, sizeof(path), "/sys/kernel/slab", names[i],
			"aliases");
		if (read_word(path, word, sizeof(word)) &&
		    number(word, &aliases) && aliases)
			c->state = MERGED;
	}
}

static void warn_state(const struct cache *caches, enum state state,
		       const char *advice)
{
	char list[256] = "";
	size_t length = 0;

	for (size_t i = 0; i < NR_CACHES; i++)
		if (caches[i].state == state)
			length += snprintf(list + length, sizeof(list) - length,
					   " %s", names[i]);
	if (length)
		warnx("%s:%s (%s)", states[state], list, advice);
}

/* Returns whether all caches that have numbers were flushed. */
static bool flush_caches(const struct cache *caches)
{
	char path[PATH_MAX];

	for (size_t i = 0; i < NR_CACHES; i++) {
		bool good;
		int fd;

		if (caches[i].state != OK)
			continue;
		in_root(path, sizeof(path), "/sys/kernel/slab", names[i],
			"shrink");
		fd = open(path, O_WRONLY | O_CLOEXEC);
		good = fd >= 0 && write(fd, "1", 1) == 1;
		if (!good)
			warn("in use is not known, no flush: %s%s", path,
			     advice());
		if (fd >= 0)
			close(fd);
		if (!good)
			return false;
	}
	return true;
}

/* Flush until two rounds agree: what was freed comes back through RCU. */
static void settle(struct cache *caches)
{
	struct cache now[NR_CACHES];
	long long last = 0, sum;

	for (int round = 0; round < 30; round++) {
		if (!flush_caches(caches))
			return;
		memcpy(now, caches, sizeof(now));
		read_slabinfo(now);
		sum = 0;
		for (size_t i = 0; i < NR_CACHES; i++)
			if (caches[i].state == OK)
				sum += now[i].value[ACTIVE];
		if (round > 2 && sum == last)
			break;
		last = sum;
		usleep(100 * 1000);
	}
	for (size_t i = 0; i < NR_CACHES; i++) {
		if (caches[i].state != OK)
			continue;
		caches[i].value[IN_USE] = now[i].value[ACTIVE];
		caches[i].value[KB] = now[i].value[KB];
	}
}

static void read_caches(struct cache *caches, bool want_flush)
{
	for (size_t i = 0; i < NR_CACHES; i++) {
		caches[i].state = ABSENT;
		for (int j = 0; j < NR_FIELDS; j++)
			caches[i].value[j] = NONE;
	}
	read_slabinfo(caches);
	find_merged(caches);
	warn_state(caches, MERGED, "boot with slab_nomerge to have numbers");
	warn_state(caches, ABSENT, "this kernel has no such cache");
	if (want_flush)
		settle(caches);
	for (size_t i = 0; i < NR_CACHES; i++)
		if (caches[i].state != OK)
			for (int j = 0; j < NR_FIELDS; j++)
				caches[i].value[j] = NONE;
}

/*
 * Is it a line of maps or smaps that begins a VMA? The vsyscall page is listed
 * with every process, but is no VMA.
 */
static bool begins_vma(const char *line, char *flags)
{
	unsigned long start, end;
	int name = 0;

	if (sscanf(line, "%lx-%lx %4s %*x %*s %*u %n", &start, &end, flags,
		   &name) != 3 || !name)
		return false;
	return strcmp(line + name, "[vsyscall]\n");
}

/* A kernel thread has no VMAs, nor has who has just ended. */
static void count_vmas(struct snapshot *s)
{
	char path[PATH_MAX], flags[5], *line = NULL;
	unsigned long unreadable = 0;
	struct dirent *entry;
	size_t size = 0;
	DIR *proc;

	in_root(path, sizeof(path), "/proc", NULL, NULL);
	proc = opendir(path);
	if (!proc)
		err(EXIT_FAILURE, "%s", path);
	s->vmas = 0;
	s->processes = 0;
	while ((entry = readdir(proc))) {
		long long n = 0;
		FILE *f;

		if (!isdigit((unsigned char)entry->d_name[0]))
			continue;
		in_root(path, sizeof(path), "/proc", entry->d_name, "maps");
		f = fopen(path, "r");
		if (!f) {
			unreadable += errno != ENOENT && errno != ESRCH;
			continue;
		}
		while (getline(&line, &size, f) > 0)
			n += begins_vma(line, flags);
		fclose(f);
		s->vmas += n;
		s->processes += !!n;
	}
	free(line);
	closedir(proc);
	if (unreadable)
		warnx("processes that could not be read, and are not counted: %lu%s",
		      unreadable, geteuid() ? " (be root)" : "");
}

static void add_counter(struct snapshot *s, const char *name, long long value)
{
	struct counter *c = &s->counter[s->nr_counters];

	if (s->nr_counters == MAX_COUNTERS)
		errx(EXIT_FAILURE, "more than %d counters %s*", MAX_COUNTERS,
		     COUNTER);
	snprintf(c->name, sizeof(c->name), "%.63s", name);
	c->value = value;
	s->nr_counters++;
}

static bool is_counter(const char *name)
{
	return !strncmp(name, COUNTER, strlen(COUNTER)) &&
	       strlen(name) < sizeof(((struct counter *)0)->name) &&
	       !name[strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_")];
}

static long long counter(const struct snapshot *s, const char *name)
{
	for (size_t i = 0; i < s->nr_counters; i++)
		if (!strcmp(s->counter[i].name, name))
			return s->counter[i].value;
	return NONE;
}

static void read_counters(struct snapshot *s)
{
	char path[PATH_MAX], line[256];
	FILE *f;

	s->nr_counters = 0;
	in_root(path, sizeof(path), "/proc/vmstat", NULL, NULL);
	f = fopen(path, "r");
	if (!f) {
		warn("%s", path);
		return;
	}
	while (fgets(line, sizeof(line), f)) {
		char *value = strchr(line, ' ');
		long long n;

		if (!value)
			continue;
		*value++ = 0;
		value[strcspn(value, "\n")] = 0;
		if (is_counter(line) && number(value, &n))
			add_counter(s, line, n);
	}
	fclose(f);
}

static void take(struct snapshot *s, bool want_flush)
{
	char path[PATH_MAX], word[32];

	memset(s, 0, sizeof(*s));
	s->time = time(NULL);
	in_root(path, sizeof(path), "/proc/sys/kernel/osrelease", NULL, NULL);
	if (!read_word(path, s->kernel, sizeof(s->kernel)))
		snprintf(s->kernel, sizeof(s->kernel), "unknown");
	for (char *p = s->kernel; *p; p++)
		if (!isgraph((unsigned char)*p))
			*p = '_';

	s->lazy = NONE;
	in_root(path, sizeof(path), "/proc/sys/vm/anon_vma_lazy", NULL, NULL);
	if (read_word(path, word, sizeof(word))) {
		if (!number(word, &s->lazy))
			errx(EXIT_FAILURE, "%s: %s is no number", path, word);
	} else if (errno && errno != ENOENT) {
		warn("%s", path);
	}

	read_caches(s->cache, want_flush);
	count_vmas(s);
	read_counters(s);
	if (s->lazy != NONE && !s->nr_counters)
		warnx("no counters %s* (CONFIG_VM_EVENT_COUNTERS=y)", COUNTER);
}

/*
 * How many of the times that a VMA became lazy, at first or again, have not
 * been ended by an upgrade, in percent, or -1.
 */
static double lazy_share(const struct snapshot *from, const struct snapshot *to)
{
	static const char prepared[] = COUNTER "prepared";
	static const char again[] = COUNTER "again";
	static const char upgrade[] = COUNTER "upgrade_";
	long long all = 0, up = 0;

	for (size_t i = 0; i < to->nr_counters; i++) {
		const struct counter *c = &to->counter[i];
		const long long before = from ? counter(from, c->name) : 0;

		if (before == NONE)
			return -1;
		if (!strcmp(c->name, prepared) || !strcmp(c->name, again))
			all += c->value - before;
		else if (!strncmp(c->name, upgrade, strlen(upgrade)))
			up += c->value - before;
	}
	if (all <= 0 || up < 0 || up > all)
		return -1;
	return 100.0 * (all - up) / all;
}

/* Snapshot files */

static bool write_snapshot(FILE *f, const struct snapshot *s)
{
	unsigned int lines = 6;

	fprintf(f, "anon_vma_stat %d\ntime %lld\nkernel %s\n", VERSION, s->time,
		s->kernel);
	if (s->lazy == NONE)
		fprintf(f, "lazy absent\n");
	else
		fprintf(f, "lazy %lld\n", s->lazy);
	fprintf(f, "processes %lld\n", s->processes);
	fprintf(f, "vmas %lld\n", s->vmas);
	for (size_t i = 0; i < NR_CACHES; i++, lines++) {
		const struct cache *c = &s->cache[i];

		fprintf(f, "cache %s %s", names[i], states[c->state]);
		for (int j = 0; c->state == OK && j < NR_FIELDS; j++) {
			if (c->value[j] == NONE)
				fprintf(f, " -");
			else
				fprintf(f, " %lld", c->value[j]);
		}
		fprintf(f, "\n");
	}
	for (size_t i = 0; i < s->nr_counters; i++, lines++)
		fprintf(f, "vmstat %s %lld\n", s->counter[i].name,
			s->counter[i].value);
	fprintf(f, "end %u\n", lines);
	return !fflush(f) && !ferror(f);
}

/*
 * A regular file is replaced whole or stays as it was; a pipe or a device has
 * nothing to lose, and must not be renamed over.
 */
static void save(const char *name, const struct snapshot *s)
{
	char target[PATH_MAX], temporary[PATH_MAX + 8];
	bool there, good;
	struct stat st;
	mode_t mask;
	FILE *f;
	int fd;

	there = !stat(name, &st);
	if (there && !S_ISREG(st.st_mode)) {
		f = fopen(name, "w");
		if (!f)
			err(EXIT_FAILURE, "%s", name);
		if (!write_snapshot(f, s) || fclose(f))
			err(EXIT_FAILURE, "%s: not written", name);
		return;
	}
	/* Not the link, but what it points to. */
	if ((!there || !realpath(name, target)) &&
	    snprintf(target, sizeof(target), "%s", name) >= (int)sizeof(target))
		errx(EXIT_FAILURE, "%s: the name is too long", name);
	snprintf(temporary, sizeof(temporary), "%s.XXXXXX", target);
	fd = mkstemp(temporary);
	if (fd < 0)
		err(EXIT_FAILURE, "%s: not written", name);
	mask = umask(0);
	umask(mask);
	good = !fchmod(fd, there ? st.st_mode & 0777 : 0666 & ~mask);
	f = fdopen(fd, "w");
	good = good && f && write_snapshot(f, s) && !fsync(fd);
	/* On some file systems only close() says that the disk is full. */
	if (f && fclose(f))
		good = false;
	if (!good || rename(temporary, target)) {
		warn("%s: not written%s", name,
		     there ? ", and as it was before" : "");
		unlink(temporary);
		exit(EXIT_FAILURE);
	}
}

static bool parse_cache(struct snapshot *s, char **word, int words,
			bool *seen)
{
	struct cache *c;
	size_t i, j;

	for (i = 0; i < NR_CACHES; i++)
		if (words >= 3 && !strcmp(word[1], names[i]))
			break;
	if (i == NR_CACHES || seen[i])
		return false;
	seen[i] = true;
	c = &s->cache[i];
	for (j = 0; j < ARRAY_SIZE(states); j++)
		if (!strcmp(word[2], states[j]))
			break;
	if (j == ARRAY_SIZE(states))
		return false;
	c->state = j;
	if (words != 3 + (c->state == OK ? NR_FIELDS : 0))
		return false;
	for (j = 0; j < NR_FIELDS; j++) {
		c->value[j] = NONE;
		if (c->state != OK || !strcmp(word[3 + j], "-"))
			continue;
		if (!number(word[3 + j], &c->value[j]))
			return false;
	}
	return true;
}

static bool parse_counter(struct snapshot *s, char **word, int words)
{
	long long n;

	if (words != 3 || !is_counter(word[1]) || !number(word[2], &n) ||
	    counter(s, word[1]) != NONE || s->nr_counters == MAX_COUNTERS)
		return false;
	add_counter(s, word[1], n);
	return true;
}

/* One line behind the first. The bits of *seen say what has been there. */
static bool parse_line(struct snapshot *s, char *line, unsigned int *seen,
		       bool *caches)
{
	static const char * const once[] = {
		"time", "kernel", "lazy", "processes", "vmas"
	};
	long long *values[] = {
		&s->time, NULL, &s->lazy, &s->processes, &s->vmas
	};
	char *word[10], *rest = NULL;
	int words = 0;

	for (char *p = strtok_r(line, " ", &rest); p;
	     p = strtok_r(NULL, " ", &rest)) {
		if (words == ARRAY_SIZE(word))
			return false;
		word[words++] = p;
	}
	if (words < 2)
		return false;
	if (!strcmp(word[0], "cache"))
		return parse_cache(s, word, words, caches);
	if (!strcmp(word[0], "vmstat"))
		return parse_counter(s, word, words);
	for (size_t i = 0; i < ARRAY_SIZE(once); i++) {
		if (strcmp(word[0], once[i]))
			continue;
		if (words != 2 || *seen & (1U << i))
			return false;
		*seen |= 1U << i;
		if (values[i] == &s->lazy && !strcmp(word[1], "absent")) {
			s->lazy = NONE;
			return true;
		}
		if (values[i])
			return number(word[1], values[i]);
		if (strlen(word[1]) >= sizeof(s->kernel))
			return false;
		for (const char *p = word[1]; *p; p++)
			if (!isgraph((unsigned char)*p))
				return false;
		snprintf(s->kernel, sizeof(s->kernel), "%s", word[1]);
		return true;
	}
	return false;
}

static void load(const char *name, struct snapshot *s)
{
	unsigned int lines = 0, seen = 0;
	bool caches[NR_CACHES] = { };
	bool complete = false;
	char line[512];
	long long n;
	FILE *f;

	memset(s, 0, sizeof(*s));
	f = fopen(name, "r");
	if (!f)
		err(EXIT_FAILURE, "%s", name);
	while (fgets(line, sizeof(line), f)) {
		size_t length = strcspn(line, "\n");
		bool whole = line[length] == '\n';

		line[length] = 0;
		lines++;
		if (lines == 1) {
			if (strncmp(line, "anon_vma_stat ", 14) || !whole ||
			    !number(line + 14, &n))
				errx(EXIT_FAILURE, "%s: not a snapshot", name);
			if (n != VERSION)
				errx(EXIT_FAILURE,
				     "%s: a snapshot of version %lld, only %d is known here",
				     name, n, VERSION);
			continue;
		}
		if (!whole && length < sizeof(line) - 1 && feof(f))
			break;
		if (!complete && !strncmp(line, "end ", 4) &&
		    number(line + 4, &n) && n == lines - 1) {
			complete = true;
			continue;
		}
		if (complete || !whole ||
		    !parse_line(s, line, &seen, caches))
			errx(EXIT_FAILURE, "%s:%u: damaged", name, lines);
	}
	if (ferror(f))
		err(EXIT_FAILURE, "%s", name);
	fclose(f);
	if (!lines)
		errx(EXIT_FAILURE, "%s: not a snapshot, but empty", name);
	if (!complete)
		errx(EXIT_FAILURE, "%s: truncated after %u lines", name, lines);
	for (size_t i = 0; i < NR_CACHES; i++)
		if (!caches[i])
			errx(EXIT_FAILURE, "%s: damaged, without %s", name,
			     names[i]);
	if (seen != 0x1f)
		errx(EXIT_FAILURE, "%s: damaged, lines are missing", name);
}

/* Output as text */

static const char *text(char *buf, size_t size, long long value)
{
	snprintf(buf, size, value == NONE ? "-" : "%lld", value);
	return buf;
}

static const char *lazy_text(char *buf, size_t size, const struct snapshot *s)
{
	return s->lazy == NONE ? "absent" : text(buf, size, s->lazy);
}

static void print_text(const struct snapshot *s)
{
	double share = lazy_share(NULL, s);
	char buf[32];

	printf("%-32s %12s %12s %12s\n", "", fields[ACTIVE], fields[IN_USE],
	       fields[KB]);
	for (size_t i = 0; i < NR_CACHES; i++) {
		const struct cache *c = &s->cache[i];

		printf("%-32s", names[i]);
		if (c->state != OK)
			printf(" %12s", states[c->state]);
		for (int j = 0; c->state == OK && j <= KB; j++)
			printf(" %12s", text(buf, sizeof(buf), c->value[j]));
		printf("\n");
	}
	printf("%-32s %12lld\n", "VMAs", s->vmas);
	printf("%-32s %12lld\n", "processes", s->processes);
	printf("%-32s %12s\n", "vm.anon_vma_lazy",
	       lazy_text(buf, sizeof(buf), s));
	for (size_t i = 0; i < s->nr_counters; i++)
		printf("%-32s %12lld\n", s->counter[i].name,
		       s->counter[i].value);
	if (share >= 0)
		printf("%-32s %11.1f%%\n", "prepared and not upgraded", share);
}

static void print_change(const char *name, const char *field, long long before,
			 long long after)
{
	char label[128], buf[2][32];

	snprintf(label, sizeof(label), "%s%s%s", name, *field ? " " : "",
		 field);
	printf("%-32s %12s %12s", label, text(buf[0], sizeof(buf[0]), before),
	       text(buf[1], sizeof(buf[1]), after));
	if (before == NONE || after == NONE)
		printf(" %12s %9s\n", "-", "-");
	else if (!before)
		printf(" %+12lld %9s\n", after, "-");
	else
		printf(" %+12lld %+8.1f%%\n", after - before,
		       100.0 * (after - before) / before);
}

static void when(char *buf, size_t size, const struct snapshot *s)
{
	time_t t = s->time;
	struct tm tm;

	if (!gmtime_r(&t, &tm) || !strftime(buf, size, "%F %TZ", &tm))
		snprintf(buf, size, "@%lld", s->time);
}

static void diff_text(const struct snapshot *a, const struct snapshot *b)
{
	double share = lazy_share(a, b);
	char buf[2][32];

	when(buf[0], sizeof(buf[0]), a);
	when(buf[1], sizeof(buf[1]), b);
	printf("# before: %s, %s\n# after: %s, %s\n", buf[0], a->kernel, buf[1],
	       b->kernel);
	printf("%-32s %12s %12s %12s %9s\n", "", "before", "after", "change",
	       "%");
	for (size_t i = 0; i < NR_CACHES; i++) {
		const struct cache *c = &a->cache[i], *d = &b->cache[i];

		if (c->state != OK || d->state != OK) {
			printf("%-32s %12s %12s %12s %9s\n", names[i],
			       states[c->state], states[d->state], "-", "-");
			continue;
		}
		for (int j = 0; j <= KB; j++)
			print_change(names[i], fields[j], c->value[j],
				     d->value[j]);
	}
	print_change("VMAs", "", a->vmas, b->vmas);
	print_change("processes", "", a->processes, b->processes);
	printf("%-32s %12s %12s\n", "vm.anon_vma_lazy",
	       lazy_text(buf[0], sizeof(buf[0]), a),
	       lazy_text(buf[1], sizeof(buf[1]), b));
	for (size_t i = 0; i < a->nr_counters; i++)
		print_change(a->counter[i].name, "", a->counter[i].value,
			     counter(b, a->counter[i].name));
	for (size_t i = 0; i < b->nr_counters; i++)
		if (counter(a, b->counter[i].name) == NONE)
			print_change(b->counter[i].name, "", NONE,
				     b->counter[i].value);
	if (share >= 0)
		printf("%-32s %12s %11.1f%%\n",
		       "meanwhile prepared, not upgraded", "", share);
}

/* Output as JSON. No name needs an escape but, perhaps, the kernel's. */

static void json_string(const char *s)
{
	putchar('"');
	for (; *s; s++) {
		if (*s == '"' || *s == '\\')
			putchar('\\');
		putchar(*s);
	}
	putchar('"');
}

static void json_value(const char *before, const char *key, long long value)
{
	char buf[32];

	printf("%s\"%s\": %s", before, key,
	       value == NONE ? "null" : text(buf, sizeof(buf), value));
}

static void json_share(double share)
{
	if (share < 0)
		printf(",\n\"lazy_share_percent\": null");
	else
		printf(",\n\"lazy_share_percent\": %.1f", share);
}

static void json_snapshot(const struct snapshot *s)
{
	printf("{\"version\": %d, \"time\": %lld, \"kernel\": ", VERSION,
	       s->time);
	json_string(s->kernel);
	json_value(",\n", "vm.anon_vma_lazy", s->lazy);
	json_value(",\n", "vmas", s->vmas);
	json_value(",\n", "processes", s->processes);
	printf(",\n\"caches\": {");
	for (size_t i = 0; i < NR_CACHES; i++) {
		printf("%s\n\t\"%s\": {\"state\": \"%s\"", i ? "," : "",
		       names[i], states[s->cache[i].state]);
		for (int j = 0; j < NR_FIELDS; j++)
			json_value(", ", keys[j], s->cache[i].value[j]);
		printf("}");
	}
	printf("},\n\"vmstat\": {");
	for (size_t i = 0; i < s->nr_counters; i++)
		json_value(i ? ",\n\t" : "\n\t", s->counter[i].name,
			   s->counter[i].value);
	printf("}");
	json_share(lazy_share(NULL, s));
	printf("}");
}

static void json_change(const char *before, const char *key, long long from,
			long long to)
{
	printf("%s\"%s\": ", before, key);
	if (from == NONE || to == NONE)
		printf("null");
	else if (!from)
		printf("{\"absolute\": %lld, \"percent\": null}", to);
	else
		printf("{\"absolute\": %lld, \"percent\": %.1f}", to - from,
		       100.0 * (to - from) / from);
}

static void json_diff(const struct snapshot *a, const struct snapshot *b)
{
	printf("{\"before\":\n");
	json_snapshot(a);
	printf(",\n\"after\":\n");
	json_snapshot(b);
	printf(",\n\"change\":\n{");
	json_change("", "vmas", a->vmas, b->vmas);
	json_change(",\n", "processes", a->processes, b->processes);
	printf(",\n\"caches\": {");
	for (size_t i = 0; i < NR_CACHES; i++) {
		printf("%s\n\t\"%s\": {", i ? "," : "", names[i]);
		for (int j = 0; j <= KB; j++)
			json_change(j ? ", " : "", keys[j],
				    a->cache[i].value[j],
				    b->cache[i].value[j]);
		printf("}");
	}
	printf("},\n\"vmstat\": {");
	for (size_t i = 0; i < b->nr_counters; i++)
		json_change(i ? ",\n\t" : "\n\t", b->counter[i].name,
			    counter(a, b->counter[i].name),
			    b->counter[i].value);
	printf("}");
	json_share(lazy_share(a, b));
	printf("}}\n");
}

/* Processes */

struct process {
	long long vmas;
	long long writable;		/* of those, private and writable */
	long long anon;			/* of all, with anonymous pages */
};

static bool is_process(const char *pid)
{
	char path[PATH_MAX];
	int saved = errno;
	bool is;

	in_root(path, sizeof(path), "/proc", pid, "");
	is = !access(path, F_OK);
	errno = saved;
	return is;
}

static bool read_process(const char *pid, struct process *p)
{
	char path[PATH_MAX], flags[5], *line = NULL;
	bool vma = false, known = false, good;
	unsigned long kb;
	size_t size = 0;
	FILE *f;

	memset(p, 0, sizeof(*p));
	if (!is_process(pid)) {
		warnx("no process %s", pid);
		return false;
	}
	in_root(path, sizeof(path), "/proc", pid, "smaps");
	f = fopen(path, "r");
	if (!f && errno == ESRCH)
		return true;	/* a kernel thread, or a zombie */
	if (!f) {
		warn("%s%s", path, errno == ENOENT && is_process(pid) ?
		     " (CONFIG_PROC_PAGE_MONITOR)" : advice());
		return false;
	}
	errno = 0;
	while (getline(&line, &size, f) > 0) {
		if (sscanf(line, "Anonymous: %lu kB", &kb) == 1) {
			p->anon += vma && kb;
			known = true;
		} else if (begins_vma(line, flags)) {
			vma = true;
			p->vmas++;
			p->writable += flags[1] == 'w' && flags[3] == 'p';
		} else if (strstr(line, "[vsyscall]")) {
			vma = false;
		}
	}
	good = !ferror(f);
	if (!good)
		warn("%s", path);
	free(line);
	fclose(f);
	if (good && p->vmas && !known) {
		warnx("%s: says nothing about anonymous pages", path);
		good = false;
	}
	return good;
}

static bool print_processes(char **pids, int n, bool json)
{
	bool good = true, first = true;
	struct process p;

	if (json)
		printf("[");
	else
		printf("%10s %12s %18s %12s\n", "PID", "VMAs",
		       "private writable", "anonymous");
	for (int i = 0; i < n; i++) {
		if (!read_process(pids[i], &p)) {
			good = false;
			continue;
		}
		if (!json) {
			printf("%10s %12lld %18lld %12lld\n", pids[i], p.vmas,
			       p.writable, p.anon);
			continue;
		}
		json_value(first ? "{" : ",\n{", "pid", atoll(pids[i]));
		json_value(", ", "vmas", p.vmas);
		json_value(", ", "private_writable", p.writable);
		json_value(", ", "anonymous", p.anon);
		putchar('}');
		first = false;
	}
	if (json)
		printf("]\n");
	return good;
}

static void print_help(void)
{
	fputs("usage: anon_vma_stat [-jn] [-r ROOT]\n"
	      "       anon_vma_stat [-jn] [-r ROOT] save FILE\n"
	      "       anon_vma_stat [-jn] [-r ROOT] diff FILE [FILE2]\n"
	      "       anon_vma_stat [-j] [-r ROOT] -p PID...\n"
	      "\n"
	      "Without a command: the slab objects behind reverse mapping of anonymous\n"
	      "memory (active; in use, after a flush of what is cached per CPU; KB of\n"
	      "slabs), the VMAs and processes, vm.anon_vma_lazy and its counters.\n"
	      "\n"
	      "save FILE          write that to FILE, whole or not at all\n"
	      "diff FILE [FILE2]  compare FILE with now, or with FILE2\n"
	      "-p, --pid PID...   count the VMAs of these processes, the private writable\n"
	      "                   ones, and those with anonymous pages in memory\n"
	      "-j, --json         print JSON (with save: what was saved)\n"
	      "-n, --no-flush     do not flush; nothing is known to be in use then\n"
	      "-r, --root ROOT    read ROOT/proc and ROOT/sys\n"
	      "-h, --help         print this\n"
	      "\n"
	      "Exit status: 0, 1 after an error, 2 if called wrongly. Only root can read\n"
	      "/proc/slabinfo.\n", stdout);
}

static int wrong(const char *what, const char *why)
{
	warnx("%s: %s, see --help", what, why);
	return EXIT_USAGE;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "json", no_argument, NULL, 'j' },
		{ "no-flush", no_argument, NULL, 'n' },
		{ "pid", required_argument, NULL, 'p' },
		{ "root", required_argument, NULL, 'r' },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	static struct snapshot a, b;
	bool json = false, want_flush = true, good = true;
	const char *command = NULL;
	char **pids;
	int nr_pids = 0, opt;
	long long n;

	pids = calloc(argc, sizeof(*pids));
	if (!pids)
		err(EXIT_FAILURE, "memory");
	while ((opt = getopt_long(argc, argv, "jnp:r:h", options, NULL)) != -1) {
		switch (opt) {
		case 'j':
			json = true;
			break;
		case 'n':
			want_flush = false;
			break;
		case 'p':
			pids[nr_pids++] = optarg;
			break;
		case 'r':
			root = optarg;
			break;
		case 'h':
			print_help();
			goto out;
		default:
			return EXIT_USAGE;
		}
	}
	argc -= optind;
	argv += optind;
	/* A full disk is an error of write(), a file size limit, too. */
	signal(SIGXFSZ, SIG_IGN);

	if (nr_pids) {
		while (argc--)
			pids[nr_pids++] = *argv++;
		for (int i = 0; i < nr_pids; i++)
			if (!number(pids[i], &n) || !n)
				return wrong(pids[i], "no PID");
		good = print_processes(pids, nr_pids, json);
		goto out;
	}

	if (argc)
		command = argv[0];
	if (!command) {
		take(&a, want_flush);
		if (json) {
			json_snapshot(&a);
			putchar('\n');
		} else {
			print_text(&a);
		}
	} else if (!strcmp(command, "save")) {
		if (argc != 2)
			return wrong(command, "takes one FILE");
		take(&a, want_flush);
		save(argv[1], &a);
		if (json) {
			json_snapshot(&a);
			putchar('\n');
		}
	} else if (!strcmp(command, "diff")) {
		if (argc != 2 && argc != 3)
			return wrong(command, "takes one FILE or two");
		load(argv[1], &a);
		if (argc == 3)
			load(argv[2], &b);
		else
			take(&b, want_flush);
		if (json)
			json_diff(&a, &b);
		else
			diff_text(&a, &b);
	} else {
		return wrong(command, "no such command");
	}
out:
	free(pids);
	if (fflush(stdout) || ferror(stdout))
		err(EXIT_FAILURE, "standard output");
	return good ? EXIT_SUCCESS : EXIT_FAILURE;
}
