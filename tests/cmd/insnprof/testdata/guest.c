/*
 * Plays QEMU and a guest of two processors for the plugin: three tasks in memory, some blocks of code, two windows.
 * Which block ran for which task is what plugin_test.go compares.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t plugin_id;
struct tb { uint64_t va; size_t n; void (*run)(unsigned, void *); void *with; };
struct array { char *data; unsigned len; };
struct bytes { uint8_t *data; unsigned len; };
struct reg { void *handle; const char *name, *feature; };

extern int qemu_plugin_version;
int qemu_plugin_install(plugin_id, const void *, int, char **);

static void (*start)(plugin_id, unsigned);
static void (*translate)(plugin_id, struct tb *);
static uint64_t rax, rbx, rcx, rsi, gs_base, k_gs_base;
static char memory[3][256];

#define TASK(i) (0xffff888000000000ull + (i) * sizeof memory[0])
#define CPU(i) (0xffff888070000000ull + (i) * 0x100000ull)
#define MAGIC 0x75626c6b2d70726full

void qemu_plugin_register_vcpu_init_cb(plugin_id id, void (*f)(plugin_id, unsigned)) { start = f; }
void qemu_plugin_register_vcpu_tb_trans_cb(plugin_id id, void (*f)(plugin_id, struct tb *)) { translate = f; }
void qemu_plugin_register_vcpu_tb_exec_cb(struct tb *t, void (*f)(unsigned, void *), int flags, void *p)
{
	if (flags != 1) /* else registers are not those of the block */
		exit(3);
	t->run = f;
	t->with = p;
}
size_t qemu_plugin_tb_n_insns(const struct tb *t) { return t->n; }
uint64_t qemu_plugin_tb_vaddr(const struct tb *t) { return t->va; }

struct array *qemu_plugin_get_registers(void)
{
	static struct reg r[] = { { &rax, "rax", 0 }, { &rbx, "rbx", 0 }, { &rcx, "rcx", 0 }, { &rsi, "rsi", 0 }, { &gs_base, "gs_base", 0 }, { &k_gs_base, "k_gs_base", 0 } };
	static struct array a = { (char *)r, sizeof r / sizeof *r };

	return &a;
}

struct bytes *g_byte_array_set_size(struct bytes *b, unsigned n)
{
	b->data = realloc(b->data, n + 1);
	b->len = n;
	return b;
}
struct bytes *g_byte_array_new(void) { return calloc(1, sizeof(struct bytes)); }

int qemu_plugin_read_register(void *handle, struct bytes *b)
{
	unsigned at = b->len;

	g_byte_array_set_size(b, at + 8);
	memcpy(b->data + at, handle, 8);
	return 8;
}

bool qemu_plugin_read_memory_vaddr(uint64_t at, struct bytes *b, size_t n)
{
	if (at < TASK(0) || at + n > TASK(3))
		return false;
	g_byte_array_set_size(b, n);
	memcpy(b->data, (char *)memory + (at - TASK(0)), n);
	return true;
}

static struct tb *tb(uint64_t va, size_t n)
{
	struct tb *t = calloc(1, sizeof *t);

	t->va = va;
	t->n = n;
	translate(1, t);
	return t;
}

static void run(struct tb *t) { t->run(0, t->with); } /* the same index for every processor, as QEMU 10 has it */
static void kernel(int cpu) { gs_base = CPU(cpu); k_gs_base = 0; }
static void user(int cpu) { gs_base = 0; k_gs_base = CPU(cpu); }

int main(int argc, char **argv)
{
	char *args[] = { "door=401000", argv[1] };
	struct tb *schedule, *code, *program, *door;

	if (argc != 2 || qemu_plugin_version != 4 || qemu_plugin_install(1, NULL, 2, args))
		return 2;
	start(1, 0);
	schedule = tb(0xffffffff81000000, 10);
	code = tb(0xffffffff81000100, 7);
	program = tb(0x402000, 5);
	door = tb(0x401000, 1);
	strcpy(memory[0] + 40, "a server");
	strcpy(memory[1] + 40, "insnprof-window");
	strcpy(memory[2] + 40, "fio");

	gs_base = k_gs_base = 0;
	run(code); /* before the kernel has set up anything */
	user(0), rax = MAGIC, rbx = 0, rcx = schedule->va, run(door);
	kernel(0), rsi = TASK(0), run(schedule);
	kernel(1), rsi = TASK(1), run(schedule);
	run(code); /* no window yet */
	user(1), rax = MAGIC, rbx = 1, run(door);

	user(0), run(program);
	run(code); /* the kernel's entry, before it has its own gs_base */
	kernel(0), run(code), run(code);
	kernel(1), run(code);
	rsi = TASK(2), run(schedule), run(code);
	kernel(0), run(code);
	rsi = TASK(1), run(schedule);
	user(0), rax = 1, rbx = 2, run(door); /* another program's code at the same address */
	kernel(1), run(code);
	user(0), rax = MAGIC, rbx = 2, run(door);

	kernel(1), run(code);
	user(0), rax = MAGIC, rbx = 1, run(door);
	kernel(1), run(code);
	user(0), rax = MAGIC, rbx = 2, run(door);
	return 0;
}
