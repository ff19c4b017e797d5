// SPDX-License-Identifier: GPL-2.0-only
/*
 * The classic way to refuse, for kernels that dispatch through sys_call_table: entries are replaced by table_entry (entry.S).
 * Since 6.9, and in stable kernels before that have the mitigation of branch history injection, x64_sys_call() is a switch
 * and the table is only looked at by tracing. So it is used only where the code of the dispatcher is seen to have the table's
 * address in it, and never touched elsewhere. The addresses come from /proc/kallsyms, as parameters: the kernel exports none
 * of them. Each is taken only if the kernel's own symbol table agrees.
 */
#include <linux/kallsyms.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/rcupdate.h>
#include <linux/vmalloc.h>
#include <asm/syscall.h>
#include "call.h"
#include "compat.h"
#include "judge.h"
#include "table.h"

#define ENTRIES SLOT_I386	/* what slot_of() gives below the ABI's base, SLOT_UNKNOWN too */

static char *mode = "auto";
module_param(mode, charp, 0444);
MODULE_PARM_DESC(mode, "how calls are denied: auto, ftrace, table");

static unsigned long sys_call_table_at, ia32_sys_call_table_at, x32_sys_call_table_at, do_syscall_64_at, do_int80_at;
module_param_named(sys_call_table, sys_call_table_at, ulong, 0400);
module_param_named(ia32_sys_call_table, ia32_sys_call_table_at, ulong, 0400);
module_param_named(x32_sys_call_table, x32_sys_call_table_at, ulong, 0400);
module_param_named(do_syscall_64, do_syscall_64_at, ulong, 0400);
module_param_named(do_int80_syscall_32, do_int80_at, ulong, 0400);
MODULE_PARM_DESC(sys_call_table, "its address in /proc/kallsyms, as are those of the other four");

enum isotrace_mode refuse_mode;
static const char *evidence = "sys_call_table was not looked for";

static struct table {
	unsigned long *entries;		/* the kernel's own, read-only; NULL if it has no such table */
	unsigned int count;
	unsigned long saved[ENTRIES];	/* what they were, 0 where not replaced */
} tables[3];				/* by enum event_abi */

/* The size of the symbol that begins at the address, 0 if it is not the one of that name. */
static unsigned long symbol_size(unsigned long address, const char *name)
{
	char text[KSYM_SYMBOL_LEN], wanted[64];
	unsigned long size;

	snprintf(text, sizeof(text), "%pS", (void *)address);
	snprintf(wanted, sizeof(wanted), "%s+0x0/", name);
	if (!address || !strstarts(text, wanted) || kstrtoul(text + strlen(wanted), 16, &size))
		return 0;
	return size;
}

/* Whether the code of a function has the table's address, as an instruction's 32 bits, in it. */
static bool refers_to(unsigned long function, unsigned long size, unsigned long table)
{
	unsigned long at;

	for (at = function; at + sizeof(u32) <= function + size; at++)
		if (get_unaligned((const u32 *)at) == (u32)table)
			return true;
	return false;
}

static const struct {
	const char *name;
	unsigned long *table;
	const char *dispatcher;
	unsigned long *code;
	bool there;
} known[] = {	/* by enum event_abi */
	[ABI_X86_64] = { "sys_call_table", &sys_call_table_at, "do_syscall_64", &do_syscall_64_at, true },
	[ABI_X32] = { "x32_sys_call_table", &x32_sys_call_table_at, "do_syscall_64", &do_syscall_64_at,
		      IS_ENABLED(CONFIG_X86_X32_ABI) },
	[ABI_I386] = { "ia32_sys_call_table", &ia32_sys_call_table_at, "do_int80_syscall_32", &do_int80_at,
		       IS_ENABLED(CONFIG_IA32_EMULATION) },
};

/* Finds the tables of all ABIs; NULL, or what speaks against using them. */
static const char *look(void)
{
	unsigned long size, code_size;
	unsigned int abi;

	for (abi = 0; abi < ARRAY_SIZE(known); abi++) {
		if (!known[abi].there)
			continue;
		size = symbol_size(*known[abi].table, known[abi].name);
		code_size = symbol_size(*known[abi].code, known[abi].dispatcher);
		if (!size || !code_size)
			return "a system call table was not found";
		if (!refers_to(*known[abi].code, code_size, *known[abi].table))
			return "sys_call_table is bypassed: its address is not in the code that dispatches";
		tables[abi].entries = (unsigned long *)*known[abi].table;
		tables[abi].count = min_t(unsigned long, size / sizeof(long), SLOT_UNKNOWN);
	}
	return NULL;
}

/* Decides how calls are refused; an error when the mode that was asked for cannot be had. */
int mode_choose(void)
{
	bool ftrace = IS_ENABLED(CONFIG_DYNAMIC_FTRACE_WITH_REGS);
	const char *trouble = look();

	evidence = trouble ?: "calls go through sys_call_table";
	if (!strcmp(mode, "auto")) {
		refuse_mode = ftrace ? ISOTRACE_MODE_FTRACE : trouble ? ISOTRACE_MODE_NONE : ISOTRACE_MODE_TABLE;
	} else if (!strcmp(mode, "ftrace") && ftrace) {
		refuse_mode = ISOTRACE_MODE_FTRACE;
	} else if (!strcmp(mode, "table") && !trouble) {
		refuse_mode = ISOTRACE_MODE_TABLE;
	} else {
		pr_err("isotrace: mode %s cannot be had: %s\n", mode, ftrace || strcmp(mode, "ftrace") ? evidence : "no ftrace here");
		return -EOPNOTSUPP;
	}
	return 0;
}

const char *table_evidence(void)
{
	return evidence;
}

/* Writes one entry through a mapping of its page that may be written: no protection of the kernel's own is lifted. */
static int write_entry(unsigned long *entry, unsigned long value)
{
	struct page *page = pfn_to_page(__pa_symbol(entry) >> PAGE_SHIFT);
	void *alias = vmap(&page, 1, VM_MAP, PAGE_KERNEL);

	if (!alias)
		return -ENOMEM;
	WRITE_ONCE(*(unsigned long *)(alias + offset_in_page(entry)), value);
	vunmap(alias);
	return 0;
}

/* Entries that no call has (ni_syscall) are left alone: there is nothing to refuse. */
static int replace(struct table *table, u32 index)
{
	int error;

	if (index >= table->count || !is_call_function(table->entries[index]))
		return 0;
	table->saved[index] = table->entries[index];
	smp_wmb();	/* table_judge() reads it as soon as the entry is replaced */
	error = write_entry(&table->entries[index], (unsigned long)table_entry);
	if (error)
		table->saved[index] = 0;
	return error;
}

int table_attach(struct session *session)
{
	int error = 0;
	u32 slot;

	for (slot = 0; slot < SLOTS && !error; slot++) {
		if (!session->rules_of[slot])
			continue;
		if (slot >= SLOT_I386)
			error = replace(&tables[ABI_I386], slot - SLOT_I386);
		else
			error = replace(&tables[ABI_X86_64], slot) ?: replace(&tables[ABI_X32], slot);
	}
	if (error)
		table_detach();
	return error;
}

/* Puts back what was there; afterwards no task is in table_entry() or on its way there. */
void table_detach(void)
{
	struct table *table;
	unsigned int i;

	for (table = tables; table < tables + ARRAY_SIZE(tables); table++)
		for (i = 0; i < ENTRIES; i++)
			if (table->saved[i])
				while (write_entry(&table->entries[i], table->saved[i]))
					cond_resched();
	synchronize_rcu_tasks();
	for (table = tables; table < tables + ARRAY_SIZE(tables); table++)
		memset(table->saved, 0, sizeof(table->saved));
}

/* The kernel's own function to go on to, or a negative errno. */
unsigned long table_judge(struct pt_regs *regs)
{
	u8 abi;
	u32 number = call_number(regs, &abi), index = slot_of(abi, number) % SLOT_I386;
	long verdict = judge(regs);

	BUILD_BUG_ON(ENTRIES != SLOT_UNKNOWN + 1 || SLOTS != 2 * ENTRIES || ARRAY_SIZE(tables) != ABI_I386 + 1);
	/* An entry that was not replaced did not lead here: somebody has changed the number since the call was dispatched. */
	return verdict ?: tables[abi].saved[index] ?: (unsigned long)-ENOSYS;
}
