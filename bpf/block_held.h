/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Asking about the first read of a file that was open before the rules began. Included by block_paths.h where a rule does so (HELD).
 *
 * Which files these are is known by which are not: what the target opens from now on was asked about then, and is noted, as is what it was allowed to
 * read. A note goes with its file. One that there was no room for costs a question, nothing else.
 */
#ifndef ISOTRACE_BLOCK_HELD_H
#define ISOTRACE_BLOCK_HELD_H

#define MAY_READ 4
#define NOTED_FILES 65536

BPF_TABLE("lru_hash", u64, u8, read_before, NOTED_FILES);	/* by struct file */

static __always_inline void note_file(u64 file)
{
	u8 noted = 1;

	read_before.update(&file, &noted);
}

/* The rule that asks about reading an open file, or 0: that which decides about opening it to read, if it is for open files as well. */
static __always_inline u32 judge_held(struct judged *judged, u64 file)
{
	struct rule *rule;
	u32 index;

	if (read_before.lookup(&file))
		return 0;
	index = number_of(judge_file(judged, file, ACCESS_READ));
	rule = rules.lookup(&index);
	return rule && (rule->flags & RULE_HELD) ? index : 0;
}

/* file_permission(file, mask) */
static __always_inline u32 judge_read(u64 *ctx, struct judged *judged)
{
	u64 file = number_of(ctx[0]);

	return ctx[1] & MAY_READ ? judge_held(judged, file) : 0;
}

/* Programs of their own, where the functions of the hooks begin or have come to their result: those at the hooks are near what the verifier bears. */

static __always_inline int note(u64 file)
{
	struct who who;

	if (file && concerns(&who))
		note_file(file);
	return 0;
}

/* security_file_open(file) */
int kfunc__security_file_open(u64 *ctx)
{
	return note(number_of(ctx[0]));
}

/* security_file_permission(file, mask) */
int kretfunc__security_file_permission(u64 *ctx)
{
	return (ctx[1] & MAY_READ) && !(int)ctx[2] ? note(number_of(ctx[0])) : 0;
}

/* security_mmap_file(file, prot, flags) */
int kretfunc__security_mmap_file(u64 *ctx)
{
	return (int)ctx[3] ? 0 : note(number_of(ctx[0]));
}

/* security_file_free(file): whoever lets go of it last; its place may be another file's then. */
int kfunc__security_file_free(u64 *ctx)
{
	u64 file = number_of(ctx[0]);

	read_before.delete(&file);
	return 0;
}

#endif
