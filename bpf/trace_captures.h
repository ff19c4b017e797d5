/* SPDX-License-Identifier: GPL-2.0-only */
/* Copying what the arguments of a call point to into its record: STRING_LIMIT bytes of a string or buffer. Needs trace_record.h. */
#ifndef ISOTRACE_TRACE_CAPTURES_H
#define ISOTRACE_TRACE_CAPTURES_H

/* A blob at the end of the record, or NULL when the record is full. */
static __always_inline struct blob *new_blob(struct scratch *scratch, u8 arg, u8 part, u64 full)
{
	u32 at = scratch->event.size;
	struct blob *blob;

	asm volatile("" : "+r"(at));
	at &= 0x7fff;
	if (at > MEMORY - sizeof(*blob) - STRING_MAX)
		return NULL;
	blob = (void *)scratch + at;
	blob->arg = arg;
	blob->part = part;
	blob->state = BLOB_WHOLE;
	blob->full = full;
	return blob;
}

static __always_inline void close_blob(struct event *event, struct blob *blob, long got)
{
	if (got < 0) {
		blob->state = BLOB_FAULT;
		event->unread = 1;
		got = 0;
	}
	blob->size = got;
	event->size += sizeof(*blob) + (((u32)got + 7) & 0x3ff8);
	event->blobs++;
}

/* Returns 0 where the record is full. */
static __always_inline int capture_text(struct scratch *scratch, u8 arg, u8 part, u64 address, u32 limit)
{
	struct blob *blob = new_blob(scratch, arg, part, 0);
	long got;

	if (!blob)
		return 0;
	if (!address)
		return 1;
	/* one more than the limit: the NUL of a string that ends there */
	limit++;
	asm volatile("" : "+r"(limit));
	limit &= 0x1fff;
	if (limit > STRING_MAX)
		limit = STRING_MAX;
	got = read_user_string(blob + 1, limit, (void *)address);
	/* up to 6.12 the NUL counts in every string but an empty one (seen on 5.10, 6.1, 6.12; not on 6.18) */
	if (got == 0) {
		*(char *)(blob + 1) = 0;
		got = 1;
	}
	if (got == limit) {	/* the NUL at the end may be the string's own */
		char last = 0;

		read_user(&last, 1, (void *)(address + limit - 1));
		if (last)
			blob->state = BLOB_CUT;
	}
	if (got < 0)
		blob->full = address;
	close_blob(&scratch->event, blob, got);
	return 1;
}

static __always_inline void capture_string(struct scratch *scratch, u8 arg, u64 address, u32 limit)
{
	capture_text(scratch, arg, PART_SELF, address, limit);
}

/* At most `limit` of the `full` bytes at `address`. */
static __always_inline void capture_bytes(struct scratch *scratch, u8 arg, u8 part, u64 address, u64 full, u32 limit)
{
	struct blob *blob = new_blob(scratch, arg, part, full);
	u32 size = full < limit ? (u32)full : limit;
	long got;

	if (!address || !blob)
		return;
	asm volatile("" : "+r"(size));
	size &= 0x1fff;
	if (size > STRING_MAX)
		size = STRING_MAX;
	/* also where nothing of it is wanted it is known whether it could be read */
	got = read_user(blob + 1, size ? size : full > 0, (void *)address);
	if (full > size)
		blob->state = BLOB_CUT;
	close_blob(&scratch->event, blob, got == 0 ? (long)size : got);
}

/* As capture_bytes, of the argument itself; if that cannot be read as a whole, then what lies on its first page. */
static __always_inline void capture_readable(struct scratch *scratch, u8 arg, u8 part, u64 address, u64 full, u32 limit)
{
	u32 rest = PAGE - (address & (PAGE - 1));
	char last;

	if (full > limit ? limit > rest : full > rest)
		if (read_user(&last, 1, (void *)(address + rest)))
			limit = rest;
	capture_bytes(scratch, arg, part, address, full, limit);
}

/* Of a set of `count` descriptors: whole words, as the kernel reads and writes them. */
static __always_inline u64 set_bytes(s32 count)
{
	return count > 0 ? ((u64)(u32)count + 63) / 64 * 8 : 0;
}

static __always_inline u64 length_of(struct event *event, u8 how)
{
	u32 value = 0;

	if (how == LEN_ONE)
		return 1;
	if (how == LEN_RESULT)
		return event->result > 0 ? event->result : 0;
	if (how < LEN_RESULT)
		return event->args[(how - 1) & 7];
	if (how >= LEN_BITS)
		return set_bytes(event->args[(how - LEN_BITS) & 7]);
	if (how >= LEN_NARROW)
		return (u32)event->args[(how - LEN_NARROW) & 7];
	read_user(&value, sizeof(value), (void *)event->args[(how - LEN_POINTER) & 7]);
	return value;
}

static __always_inline long read_iovec(struct scratch *scratch, u64 address, u32 index, int compat)
{
	struct compat_iovec *narrow = &scratch->iov32;
	struct user_iovec *iov = &scratch->iov;
	long error;

	if (!compat)
		return read_user(iov, sizeof(*iov), (void *)(address + index * sizeof(*iov)));
	error = read_user(narrow, sizeof(*narrow), (void *)(address + index * sizeof(*narrow)));
	iov->base = narrow->base;
	iov->size = narrow->size;
	return error;
}

static __always_inline long read_msghdr(struct scratch *scratch, u64 address, int compat)
{
	struct compat_msghdr *narrow = &scratch->msg32;
	struct user_msghdr *msg = &scratch->msg;
	long error;

	if (!compat)
		return read_user(msg, sizeof(*msg), (void *)address);
	error = read_user(narrow, sizeof(*narrow), (void *)address);
	msg->name = narrow->name;
	msg->name_size = narrow->name_size;
	msg->iov = narrow->iov;
	msg->iov_count = narrow->iov_count;
	msg->control = narrow->control;
	msg->control_size = narrow->control_size;
	return error;
}

#if defined(UNABBREVIATED)
/* The instructions that a struct sock_fprog points to, where the call is about such a one. */
static __always_inline void capture_program(struct scratch *scratch, struct capture *one, u64 address)
{
	struct event *event = &scratch->event;
	int compat = event->abi != ABI_X86_64;
	u64 given[2] = {}, program;

	if ((u32)event->args[one->length & 7] != one->unit || read_user(given, compat ? sizeof(u64) : sizeof(given), (void *)address))
		return;
	program = compat ? given[0] >> 32 : given[1];
	capture_bytes(scratch, one->arg, PART_DATA, program, (u64)(u16)given[0] * sizeof(u64), one->limit);
}
#endif

/* The array, then what its first elements point to: scratch->total bytes in all. */
static __always_inline void capture_iovec(struct scratch *scratch, u8 arg, u64 address, u64 count, u32 limit, int compat)
{
	u32 size = compat ? sizeof(struct compat_iovec) : sizeof(struct user_iovec);

	capture_bytes(scratch, arg, PART_IOV, address, count * size, IOVECS * size);
	scratch->iov_at = address;
	scratch->iov_count = count;
	_Pragma("nounroll")
	for (u32 i = 0; i < IOVECS; i++) {
		if (i >= scratch->iov_count || read_iovec(scratch, scratch->iov_at, i, compat))
			break;
		if (scratch->iov.size > scratch->total)
			scratch->iov.size = scratch->total;
		capture_bytes(scratch, arg, PART_DATA, scratch->iov.base, scratch->iov.size, limit);
		scratch->total -= scratch->iov.size;
	}
}

/* `size` is that of a msghdr, or of the mmsghdr that begins with one. */
static __always_inline void capture_msghdr(struct scratch *scratch, u8 arg, u64 address, u32 size, u32 limit, int compat)
{
	struct user_msghdr *msg = &scratch->msg;

	capture_bytes(scratch, arg, PART_SELF, address, size, size);
	if (read_msghdr(scratch, address, compat))
		return;
	capture_bytes(scratch, arg, PART_NAME, msg->name, msg->name_size, 128);
	capture_bytes(scratch, arg, PART_CONTROL, msg->control, msg->control_size, 256);
	capture_iovec(scratch, arg, msg->iov, msg->iov_count, limit, compat);
}

#endif
