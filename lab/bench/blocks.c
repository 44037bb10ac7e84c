// SPDX-License-Identifier: GPL-2.0
/*
 * A plugin for QEMU: how many instructions each block of code ran, between every
 * odd and the next even call of one function.
 *
 * Arguments: at=ADDRESS of that function, out=FILE for lines "ADDRESS COUNT", an
 * address for each block. One emulated CPU. A block that faults half way counts as
 * a whole.
 */
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What this needs of QEMU's plugin interface. The version comes with -D. */
#define EXPORT	__attribute__((visibility("default")))

struct qemu_info;
struct qemu_plugin_tb;
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };

void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id,
		void (*fn)(uint64_t id, struct qemu_plugin_tb *tb));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *tb,
		void (*fn)(unsigned int cpu, void *data),
		enum qemu_plugin_cb_flags flags, void *data);
void qemu_plugin_register_atexit_cb(uint64_t id, void (*fn)(uint64_t id, void *data),
		void *data);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *tb);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *tb);

EXPORT int qemu_plugin_version = PLUGIN_VERSION;

struct block {
	struct block *next;
	uint64_t address, length, count;
};

static struct block *blocks;
static uint64_t at;
static char *file;
static bool on;

static void executed(unsigned int cpu, void *data)
{
	struct block *b = data;

	(void)cpu;
	if (b->address == at)
		on = !on;
	if (on)
		b->count += b->length;
}

static void translated(uint64_t id, struct qemu_plugin_tb *tb)
{
	struct block *b = calloc(1, sizeof(*b));

	(void)id;
	if (!b)
		abort();
	b->address = qemu_plugin_tb_vaddr(tb);
	b->length = qemu_plugin_tb_n_insns(tb);
	b->next = blocks;
	blocks = b;
	qemu_plugin_register_vcpu_tb_exec_cb(tb, executed, QEMU_PLUGIN_CB_NO_REGS, b);
}

static void report(uint64_t id, void *data)
{
	FILE *f = fopen(file, "w");

	(void)id;
	(void)data;
	if (!f)
		return;
	for (struct block *b = blocks; b; b = b->next)
		if (b->count)
			fprintf(f, "%016" PRIx64 " %" PRIu64 "\n", b->address, b->count);
	fclose(f);
}

EXPORT int qemu_plugin_install(uint64_t id, const struct qemu_info *info, int argc,
			       char **argv)
{
	(void)info;
	for (int i = 0; i < argc; i++) {
		if (!strncmp(argv[i], "at=", 3))
			at = strtoull(argv[i] + 3, NULL, 16);
		else if (!strncmp(argv[i], "out=", 4))
			file = strdup(argv[i] + 4);
	}
	if (!at || !file) {
		fprintf(stderr, "blocks: at=ADDRESS and out=FILE are needed\n");
		return -1;
	}
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	qemu_plugin_register_atexit_cb(id, report, NULL);
	return 0;
}
