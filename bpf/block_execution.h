/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Rules on paths where memory of a file becomes executable. Included by block_lsm.c after block_paths.h.
 *
 * Constants: NOWHERE: the rule that denies executing everything (`x:/`), or 0; EXECUTE_CLOSED: the one that answers for what becomes executable
 * and cannot be judged, or 0.
 */
#ifndef ISOTRACE_BLOCK_EXECUTION_H
#define ISOTRACE_BLOCK_EXECUTION_H

#define PROT_READ 1
#define PROT_EXEC 4
#define READ_IMPLIES_EXEC 0x400000
#define SLOT_REMAP 216		/* remap_file_pages */
#define SLOT_REMAP_I386 (SLOT_I386 + 257)

/* Whether what the current task maps for reading becomes executable: personality(2), also of an old program, from its start on. */
static __always_inline u32 implies_exec(void)
{
	return read_u32(CURRENT() + OFF_PERSONALITY) & READ_IMPLIES_EXEC;
}

/*
 * The path that the user knows the mapped file by. A layered file system maps a file of its own, which since 6.8 (commit def3ae83da02) is at the
 * path of the layer below, and has the user's beside it. Without a branch.
 */
static __always_inline u64 mapped_path(u64 file)
{
	u64 at = OFF_F_PATH;

#if defined(OFF_BACKING_PATH)
	at += is_backing(file) * (OFF_BACKING_PATH - OFF_F_PATH);
#endif
	return file + at;
}

static __always_inline u32 judge_mapped(struct judged *judged, u64 file)
{
	u64 path = mapped_path(file);
	u32 rule = judge_object(judged, read_u64(path + OFF_PATH_DENTRY), mount_of(path), ACCESS_EXECUTE);

	return rule || !(judged->left & ACCESS_EXECUTE) ? rule : NOWHERE;
}

/* mmap_file(file, prot, …): `prot` is what was asked for; security_mmap_file has no other. */
static __always_inline u32 judge_mmap(u64 *ctx, struct judged *judged)
{
	u64 file = number_of(ctx[0]);
	u32 rule = 0;

	if (!file)
		return 0;
	if ((ctx[1] & PROT_EXEC) || ((ctx[1] & PROT_READ) && implies_exec()))
		rule = judge_mapped(judged, file);
#if defined(HELD)
	if (!rule)	/* for whatever it is mapped now: that changes without a word about reading */
		rule = judge_held(judged, file);
#endif
	return rule;
}

/* file_mprotect(vma, reqprot, prot): `prot` is what will be. */
static __always_inline u32 judge_mprotect(u64 *ctx, struct judged *judged)
{
	u64 file = (ctx[2] & PROT_EXEC) ? read_u64(ctx[0] + OFF_VM_FILE) : 0;

	return file ? judge_mapped(judged, file) : 0;
}

/*
 * mmap_addr(address): the one hook that remap_file_pages comes to before 6.12 (commit ea7e2d5e49c0). What it maps again for reading becomes
 * executable where reading implies that, and it does not say which file.
 */
static __always_inline u32 judge_remap(u64 *ctx, struct judged *judged)
{
	if (!implies_exec())
		return 0;
	find_call(judged);
	return judged->slot == SLOT_REMAP || judged->slot == SLOT_REMAP_I386 ? EXECUTE_CLOSED : 0;
}

#endif
