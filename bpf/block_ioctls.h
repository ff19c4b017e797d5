/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Rules on paths where an ioctl changes a file that is open for reading alone. Included by block_lsm.c after block_paths.h.
 */
#ifndef ISOTRACE_BLOCK_IOCTLS_H
#define ISOTRACE_BLOCK_IOCTLS_H

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
	case 0xc0606610:	/* PAGEMAP_SCAN */
	case 0xc0686611:	/* PROCMAP_QUERY */
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
 * nothing is a change; on others (devices, pipes) commands are about what they stand for. What a rule's path leads through keeps its flags: with
 * FS_CASEFOLD_FL it would lead through by other spellings.
 */
static __always_inline u32 judge_ioctl(u64 *ctx, struct judged *judged)
{
	u64 file = number_of(ctx[0]);
	u32 command = ctx[1], rule;
	u64 mode = 0;

	if (changes_no_file(command))
		return 0;
	read_kernel(&mode, sizeof(u16), (void *)(read_u64(file + OFF_F_INODE) + OFF_I_MODE));
	mode &= S_IFMT;
	if (mode != S_IFREG && mode != S_IFDIR && !sets_attributes(command))
		return 0;
	rule = judge_file(judged, file, ACCESS_WRITE);
	if (!rule && sets_attributes(command))
		rule = fixture_rule(read_u64(file + OFF_F_PATH + OFF_PATH_DENTRY));
	return rule;
}

#endif
