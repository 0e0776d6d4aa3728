/*
 * A plugin of QEMU's TCG that counts a guest's instructions by block and by task, in windows that the guest opens.
 *
 * What a processor runs is known exactly, not guessed from addresses: the kernel's switch function gets the next task in its
 * second argument (rsi), on the processor whose per-CPU base is in gs_base; at any block, in user mode as in the kernel, the
 * same base (gs_base, or k_gs_base where the user's is in gs_base) says which processor it is, and so which task. What an
 * interrupt does counts for the task that it interrupts. The processor's number that QEMU hands in is of no use: with one
 * thread for all processors, QEMU 10 gives the same one to each of them.
 *
 * The guest (devbench) calls door(MAGIC, what, value): Go has the three arguments in rax, rbx, rcx. It says where the switch
 * function is, and opens and closes windows. Who opens one has given its thread the name MARK: where that is found in its
 * task structure is where names are. Nothing else of the kernel's structures is taken for granted.
 *
 * Every callback is of the one thread that runs all processors.
 * Arguments: door=ADDRESS (hexadecimal), out=FILE. FILE gets, for each window:
 *
 *	window N
 *	who I SWITCHES NAME      for each name of tasks: a number in this window, times that one of them was switched to
 *	block ADDRESS INSNS I TIMES
 *	end
 *
 * It is built when it is used, and loaded into QEMU; the few functions and layouts of QEMU's plugin API (version 4, QEMU 10.0)
 * and of GLib that it uses are declared here.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))
#define MAGIC 0x75626c6b2d70726full
#define MARK "insnprof-window"

typedef uint64_t plugin_id;
struct tb;
struct array { char *data; unsigned len; };    /* GArray */
struct bytes { uint8_t *data; unsigned len; }; /* GByteArray */
struct reg { void *handle; const char *name, *feature; };

EXPORT int qemu_plugin_version = 4;
void qemu_plugin_register_vcpu_init_cb(plugin_id, void (*)(plugin_id, unsigned));
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id, void (*)(plugin_id, struct tb *));
void qemu_plugin_register_vcpu_tb_exec_cb(struct tb *, void (*)(unsigned, void *), int flags, void *);
size_t qemu_plugin_tb_n_insns(const struct tb *);
uint64_t qemu_plugin_tb_vaddr(const struct tb *);
struct array *qemu_plugin_get_registers(void);
int qemu_plugin_read_register(void *, struct bytes *);
bool qemu_plugin_read_memory_vaddr(uint64_t, struct bytes *, size_t);
struct bytes *g_byte_array_new(void);
struct bytes *g_byte_array_set_size(struct bytes *, unsigned);

enum { READS_REGISTERS = 1 }; /* QEMU_PLUGIN_CB_R_REGS */
enum { NAMES = 64, NAME = 16, CPUS = 64, BUCKETS = 1 << 18, TASK = 16384 };

struct block {
	uint64_t va;
	uint32_t insns;
	uint64_t *times; /* by name; made when it first runs in a window */
	struct block *next;
};
static struct block *blocks[BUCKETS];

static struct cpu {
	uint64_t base; /* its per-CPU memory: which it is */
	uint64_t task;
	int who; /* the task's name, in a window */
} cpus[CPUS];

static char names[NAMES][NAME + 1]; /* the last one stands for all that have no room; 0 for no task yet */
static uint64_t switches[NAMES];
static int named = 1;

static uint64_t door, switch_to, name_at; /* addresses, and the offset of a name in a task */
static unsigned windows;
static bool counting;
static FILE *out;
static void *rax, *rbx, *rcx, *rsi, *gs_base, *k_gs_base;
static struct bytes *buf;

static uint64_t reg(void *handle)
{
	uint64_t v = 0;

	g_byte_array_set_size(buf, 0);
	qemu_plugin_read_register(handle, buf);
	if (buf->len == sizeof v) /* 4 before the kernel is in 64-bit mode */
		memcpy(&v, buf->data, sizeof v);
	return v;
}

/* The processor that runs; NULL before the kernel has set it up. */
static struct cpu *cpu(void)
{
	static struct cpu *last = cpus;
	uint64_t base = reg(gs_base);

	if (!(base >> 63)) /* the user's */
		base = reg(k_gs_base);
	if (!(base >> 63))
		return NULL;
	if (last->base == base)
		return last;
	for (struct cpu *c = cpus; c < cpus + CPUS; c++) {
		if (!c->base)
			c->base = base;
		if (c->base == base)
			return last = c;
	}
	return NULL;
}

static int who(uint64_t task)
{
	char name[NAME + 1] = { 0 };
	int i;

	if (!task || !qemu_plugin_read_memory_vaddr(task + name_at, buf, NAME))
		return 0;
	memcpy(name, buf->data, NAME);
	for (i = 1; i < named; i++)
		if (!strcmp(names[i], name))
			return i;
	if (named == NAMES - 1) {
		strcpy(names[NAMES - 1], "(others)");
		return NAMES - 1;
	}
	strcpy(names[named], name);
	return named++;
}

static bool find_name(uint64_t task)
{
	for (name_at = 0; name_at < TASK; name_at += 8)
		if (qemu_plugin_read_memory_vaddr(task + name_at, buf, sizeof MARK) && !memcmp(buf->data, MARK, sizeof MARK))
			return true;
	name_at = 0;
	return false;
}

static void open_window(void)
{
	struct cpu *c = cpu();

	if (!c || (!name_at && !find_name(c->task)))
		return; /* a window that is not there is an error where they are read */
	for (c = cpus; c < cpus + CPUS && c->base; c++)
		c->who = who(c->task);
	counting = true;
}

static void close_window(void)
{
	if (!counting)
		return;
	counting = false;
	fprintf(out, "window %u\n", ++windows);
	for (int i = 0; i < NAMES; i++)
		if (!i || names[i][0])
			fprintf(out, "who %d %lu %s\n", i, switches[i], i ? names[i] : "(none)");
	for (int h = 0; h < BUCKETS; h++)
		for (struct block *b = blocks[h]; b; b = b->next) {
			for (int i = 0; b->times && i < NAMES; i++)
				if (b->times[i])
					fprintf(out, "block %lx %u %d %lu\n", b->va, b->insns, i, b->times[i]);
			free(b->times);
			b->times = NULL;
		}
	memset(switches, 0, sizeof switches);
	memset(names, 0, sizeof names);
	named = 1;
	fprintf(out, "end\n");
	fflush(out);
}

static void run(unsigned index, void *p)
{
	struct block *b = p;
	struct cpu *c;

	if (b->va == switch_to && (c = cpu())) {
		c->task = reg(rsi);
		if (counting)
			switches[c->who = who(c->task)]++;
	}
	if (!counting)
		return;
	if (!b->times && !(b->times = calloc(NAMES, sizeof *b->times)))
		abort();
	c = cpu();
	b->times[c ? c->who : 0]++;
}

static void run_door(unsigned index, void *p)
{
	if (reg(rax) == MAGIC) /* any program may have code at this address */
		switch (reg(rbx)) {
		case 0: switch_to = reg(rcx); break;
		case 1: open_window(); break;
		case 2: close_window(); break;
		}
	run(index, p);
}

static void translated(plugin_id id, struct tb *tb)
{
	uint64_t va = qemu_plugin_tb_vaddr(tb);
	uint32_t n = qemu_plugin_tb_n_insns(tb);
	struct block **head = &blocks[va * 0x9E3779B97F4A7C15ull >> 46], *b;

	for (b = *head; b && (b->va != va || b->insns != n); b = b->next)
		;
	if (!b) {
		if (!(b = calloc(1, sizeof *b)))
			abort();
		*b = (struct block){ .va = va, .insns = n, .next = *head };
		*head = b;
	}
	qemu_plugin_register_vcpu_tb_exec_cb(tb, va == door ? run_door : run, READS_REGISTERS, b);
}

static void started(plugin_id id, unsigned index)
{
	static const struct { const char *name; void **to; } wanted[] = {
		{ "rax", &rax }, { "rbx", &rbx }, { "rcx", &rcx }, { "rsi", &rsi }, { "gs_base", &gs_base }, { "k_gs_base", &k_gs_base },
	};
	struct array *all = qemu_plugin_get_registers();
	struct reg *r = (struct reg *)all->data;

	for (unsigned i = 0; i < all->len; i++)
		for (unsigned w = 0; w < sizeof wanted / sizeof *wanted; w++)
			if (!strcmp(r[i].name, wanted[w].name))
				*wanted[w].to = r[i].handle;
	if (!buf)
		buf = g_byte_array_new();
}

EXPORT int qemu_plugin_install(plugin_id id, const void *info, int argc, char **argv)
{
	for (int i = 0; i < argc; i++) {
		if (!strncmp(argv[i], "door=", 5))
			door = strtoull(argv[i] + 5, NULL, 16);
		if (!strncmp(argv[i], "out=", 4))
			out = fopen(argv[i] + 4, "w");
	}
	if (!door || !out) {
		fprintf(stderr, "insnprof: door=ADDRESS,out=FILE\n");
		return 1;
	}
	qemu_plugin_register_vcpu_init_cb(id, started);
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	return 0;
}
