/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Rules on paths where a file is open already: memory that becomes executable, and calls of ioctl that change the file.
 *
 * Constants: NOWHERE: the rule that denies executing everything (`x:/`), or 0; EXECUTE_CLOSED: the one that answers for what becomes executable
 * and cannot be judged, or 0.
 */
#ifndef ISOTRACE_BLOCK_FILES_H
#define ISOTRACE_BLOCK_FILES_H

#define PROT_READ 1
#define PROT_EXEC 4
#define READ_IMPLIES_EXEC 0x400000
#define FMODE_BACKING 0x2000000
#define SLOT_REMAP 216		/* remap_file_pages */
#define SLOT_REMAP_I386 (SLOT_I386 + 257)

/* Whether what the current task maps for reading becomes executable: personality(2), also of an old program, from its start on. */
static __always_inline u32 implies_exec(void)
{
	return read_u32(CURRENT() + OFF_PERSONALITY) & READ_IMPLIES_EXEC;
}

/*
 * The path that the user knows the mapped file by. A layered file system maps a file of its own, which since 6.7 (commit def3ae83da02) is at the
 * path of the layer below, and has the user's beside it. Without a branch.
 */
static __always_inline u64 mapped_path(u64 file)
{
	u64 at = OFF_F_PATH;

#if defined(OFF_BACKING_PATH)
	u64 backing = (read_u32(file + OFF_F_MODE) / FMODE_BACKING) & 1;

	at += backing * (OFF_BACKING_PATH - OFF_F_PATH);
#endif
	return file + at;
}

static __always_inline u32 judge_mapped(struct judged *judged, u64 file)
{
	u64 path = mapped_path(file);
	u32 rule = judge_place(judged, read_u64(path + OFF_PATH_DENTRY), mount_of(path), ACCESS_EXECUTE);

	return rule || !(judged->left & ACCESS_EXECUTE) ? rule : NOWHERE;
}

/* mmap_file(file, prot, …): `prot` is what was asked for; security_mmap_file has no other. */
static __always_inline u32 judge_mmap(u64 *ctx, struct judged *judged)
{
	u64 file = number_of(ctx[0]);

	if (!file || !(ctx[1] & (PROT_EXEC | PROT_READ)))
		return 0;
	if (!(ctx[1] & PROT_EXEC) && !implies_exec())
		return 0;
	return judge_mapped(judged, file);
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

/* ---- what is known of a file ------------------------------------------------------------------------------ */

#define MAY_ACCESS 0x10

/* inode_getattr(path), path_notify(path, …) */
static __always_inline u32 judge_asked(u64 *ctx, struct judged *judged)
{
	u64 path = number_of(ctx[0]);

	return judge_place(judged, read_u64(path + OFF_PATH_DENTRY), mount_of(path), ACCESS_ASK);
}

/* inode_getxattr and the like: there is no mount at hand */
static __always_inline u32 judge_asked_first(u64 *ctx, struct judged *judged)
{
	return judge_place(judged, number_of(ctx[0]), 0, ACCESS_ASK);
}

static __always_inline u32 judge_asked_second(u64 *ctx, struct judged *judged)
{
	return judge_place(judged, number_of(ctx[1]), 0, ACCESS_ASK);
}

/* inode_permission(inode, mask), by access(2) and its kin: of the inode's names that the kernel knows the last one is judged. */
static __always_inline u32 judge_access(u64 *ctx, struct judged *judged)
{
	u64 alias;

	if (!(ctx[1] & MAY_ACCESS))
		return 0;
	alias = read_u64(number_of(ctx[0]) + OFF_I_DENTRY);
	return alias ? judge_place(judged, alias - OFF_D_ALIAS, 0, ACCESS_ASK) : 0;
}

/* ---- ioctl ------------------------------------------------------------------------------------------------ */

#define IOCTL_TYPE(command) (((command) >> 8) & 0xff)
#define TERMINAL 0x54

/*
 * Whether the command is known to change nothing of a file or directory, or only what is open for writing. The commands for terminals, which
 * isatty() tries on everything, fail on files.
 */
static __always_inline int changes_no_file(u32 command)
{
	if (IOCTL_TYPE(command) == TERMINAL)
		return 1;
	switch (command) {
	case 1:			/* FIBMAP */
	case 2:			/* FIGETBSZ */
	case 0x80086601:	/* FS_IOC_GETFLAGS */
	case 0x80046601:
	case 0x80087601:	/* FS_IOC_GETVERSION */
	case 0x80047601:
	case 0x80086603:	/* EXT4_IOC_GETVERSION */
	case 0x80046603:
	case 0x801c581f:	/* FS_IOC_FSGETXATTR */
	case 0xc020660b:	/* FS_IOC_FIEMAP */
	case 0x40049409:	/* FICLONE */
	case 0x4020940d:	/* FICLONERANGE */
	case 0xc0189436:	/* FIDEDUPERANGE: of the same content */
	case 0x81009431:	/* FS_IOC_GETFSLABEL */
	case 0x80111500:	/* FS_IOC_GETFSUUID */
	case 0x81811501:	/* FS_IOC_GETFSSYSFSPATH */
	case 0x400c6615:	/* FS_IOC_GET_ENCRYPTION_POLICY */
	case 0xc0096616:	/* FS_IOC_GET_ENCRYPTION_POLICY_EX */
	case 0xc080661a:	/* FS_IOC_GET_ENCRYPTION_KEY_STATUS */
	case 0x8010661b:	/* FS_IOC_GET_ENCRYPTION_NONCE */
	case 0xc0046686:	/* FS_IOC_MEASURE_VERITY */
	case 0xc0286687:	/* FS_IOC_READ_VERITY_METADATA */
	case 0x82307201:	/* VFAT_IOCTL_READDIR_BOTH */
	case 0x82307202:	/* VFAT_IOCTL_READDIR_SHORT */
	case 0x80047210:	/* FAT_IOCTL_GET_ATTRIBUTES */
		return 1;
	}
	return 0;
}

/* Those that the kernel carries out for an object of any kind. */
static __always_inline int sets_attributes(u32 command)
{
	return command == 0x40086602 || command == 0x40046602	/* FS_IOC_SETFLAGS */
	       || command == 0x401c5820;			/* FS_IOC_FSSETXATTR */
}

/*
 * file_ioctl(file, command, …): attributes change by a descriptor that is open for reading. On a file or directory whatever is not known to change
 * nothing is a change; on others (devices, pipes) commands are about what they stand for.
 */
static __always_inline u32 judge_ioctl(u64 *ctx, struct judged *judged)
{
	u64 file = number_of(ctx[0]);
	u32 command = ctx[1];
	u16 mode = 0;

	if (changes_no_file(command))
		return 0;
	read_kernel(&mode, sizeof(mode), (void *)(read_u64(file + OFF_F_INODE) + OFF_I_MODE));
	mode &= S_IFMT;
	if (mode != S_IFREG && mode != S_IFDIR && !sets_attributes(command))
		return 0;
	return judge_file(judged, file, ACCESS_WRITE);
}

#endif
