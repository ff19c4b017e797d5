// SPDX-License-Identifier: GPL-2.0-only
/*
 * User memory that a record shows. Nothing here sleeps: what is not resident is a fault, and is marked as one. The blobs are
 * those of bpf/trace_captures.h.
 */
#include <linux/string.h>
#include <linux/uaccess.h>
#include "call.h"
#include "capture.h"

#define IOVECS 8
#define MESSAGES 4
#define ARGUMENTS 32
#define VARIABLES 256
#define NAME_LIMIT 128
#define CONTROL_LIMIT 256
#define FOUR_K 4096

struct wide_iovec { u64 base, size; };
struct wide_msghdr { u64 name; u32 name_size, pad; u64 iov, iov_count, control, control_size; u32 flags, pad2; };
struct narrow_iovec { u32 base, size; };
struct narrow_msghdr { u32 name, name_size, iov, iov_count, control, control_size, flags; };

/* 0, or an error when not all of it could be read without sleeping. */
long read_user(void *to, u64 address, u32 size)
{
	return copy_from_user_nofault(to, (const void __user *)address, size);
}

/* A blob at the end of the record, or NULL when the record is full. */
static struct blob *new_blob(struct scratch *scratch, u8 arg, u8 part, u64 full)
{
	u32 at = scratch->event.size;
	struct blob *blob = (void *)scratch + at;

	if (at > MEMORY - sizeof(*blob) - STRING_MAX)
		return NULL;
	memset(blob, 0, sizeof(*blob));
	blob->arg = arg;
	blob->part = part;
	blob->state = BLOB_WHOLE;
	blob->full = full;
	return blob;
}

static void close_blob(struct event *event, struct blob *blob, long got)
{
	if (got < 0) {
		blob->state = BLOB_FAULT;
		event->unread = 1;
		got = 0;
	}
	blob->size = got;
	event->size += sizeof(*blob) + round_up(got, 8);
	event->blobs++;
}

static void capture_string(struct scratch *scratch, u8 arg, u64 address, u32 limit)
{
	struct blob *blob = new_blob(scratch, arg, PART_SELF, 0);
	char *text = (char *)(blob + 1);
	long got;

	if (!address || !blob)
		return;
	/* one more than the limit tells a string that ends there from one that was cut */
	limit = min_t(u32, limit + 1, STRING_MAX);
	pagefault_disable();
	got = strncpy_from_user(text, (const char __user *)address, limit);
	pagefault_enable();
	if (got < 0) {
		blob->full = address;
	} else if (got >= limit) {
		text[limit - 1] = 0;
		got = limit;
		blob->state = BLOB_CUT;
	} else {
		got++;	/* the NUL counts */
	}
	close_blob(&scratch->event, blob, got);
}

/* At most `limit` of the `full` bytes at `address`. */
static void capture_bytes(struct scratch *scratch, u8 arg, u8 part, u64 address, u64 full, u32 limit)
{
	struct blob *blob = new_blob(scratch, arg, part, full);
	u32 size = min_t(u64, full, min_t(u32, limit, STRING_MAX));

	if (!address || !blob)
		return;
	if (full > size)
		blob->state = BLOB_CUT;
	/* also where nothing of it is wanted it is known whether it could be read */
	close_blob(&scratch->event, blob, full && read_user(blob + 1, address, size ?: 1) ? -EFAULT : size);
}

/* As capture_bytes, of the argument itself; if that cannot be read as a whole, then what lies on its first page. */
static void capture_readable(struct scratch *scratch, u8 arg, u64 address, u64 full, u32 limit)
{
	u32 rest = FOUR_K - (address & (FOUR_K - 1));
	char last;

	if (min_t(u64, full, limit) > rest && read_user(&last, address + rest, 1))
		limit = rest;
	capture_bytes(scratch, arg, PART_SELF, address, full, limit);
}

void capture_mask(struct scratch *scratch, u64 address, u32 width)
{
	capture_bytes(scratch, 0, PART_SELF, address, width, width);
}

void capture_kernel(struct scratch *scratch, const void *data, long size)
{
	struct blob *blob = new_blob(scratch, 0, PART_SELF, size);

	if (!blob)
		return;
	memcpy(blob + 1, data, size);
	close_blob(&scratch->event, blob, size);
}

void capture_kernel_string(struct scratch *scratch, const char *text)
{
	long size = strnlen(text, STRING_MAX - 1);
	struct blob *blob = new_blob(scratch, 0, PART_SELF, 0);

	if (!blob)
		return;
	memcpy(blob + 1, text, size);
	((char *)(blob + 1))[size] = 0;
	close_blob(&scratch->event, blob, size + 1);
}

static u64 length_of(const struct event *event, u8 how)
{
	u32 value = 0;

	if (how == LEN_ONE)
		return 1;
	if (how == LEN_RESULT)
		return event->result > 0 ? event->result : 0;
	if (how < LEN_RESULT)
		return event->args[how - 1];
	if (how >= LEN_BITS) {	/* whole words for so many descriptors */
		s32 bits = event->args[how - LEN_BITS];

		return bits > 0 ? DIV_ROUND_UP((u64)bits, 64) * 8 : 0;
	}
	if (how >= LEN_NARROW)
		return (u32)event->args[how - LEN_NARROW];
	return read_user(&value, event->args[how - LEN_POINTER], sizeof(value)) ? 0 : value;
}

static bool wanted(const struct event *event, const struct capture *one)
{
	return !(one->on_success && event->result < 0 && event->result >= -4095);
}

/* Strings, buffers, structs and socket addresses. */
void capture_memory(struct scratch *scratch, const struct captures *plan)
{
	struct event *event = &scratch->event;
	const struct capture *one;

	for (one = plan->list; one < plan->list + CAPTURES && one->op != OP_NONE; one++) {
		if (!wanted(event, one))
			continue;
		if (one->op == OP_STRING)
			capture_string(scratch, one->arg, event->args[one->arg], one->limit);
		else
			capture_readable(scratch, one->arg, event->args[one->arg],
					 length_of(event, one->length) * one->unit, one->limit);
	}
}

/* ---- vectors and messages ---- */

static long read_iovec(struct wide_iovec *iov, u64 address, u32 index, bool compat)
{
	struct narrow_iovec narrow;
	long error;

	if (!compat)
		return read_user(iov, address + index * sizeof(*iov), sizeof(*iov));
	error = read_user(&narrow, address + index * sizeof(narrow), sizeof(narrow));
	if (!error)
		*iov = (struct wide_iovec){ narrow.base, narrow.size };
	return error;
}

static long read_msghdr(struct wide_msghdr *msg, u64 address, bool compat)
{
	struct narrow_msghdr narrow;
	long error;

	if (!compat)
		return read_user(msg, address, sizeof(*msg));
	error = read_user(&narrow, address, sizeof(narrow));
	if (!error)
		*msg = (struct wide_msghdr){ .name = narrow.name, .name_size = narrow.name_size, .iov = narrow.iov,
					     .iov_count = narrow.iov_count, .control = narrow.control,
					     .control_size = narrow.control_size };
	return error;
}

/* The array, then what its first elements point to: `total` bytes in all. */
static void capture_iovec(struct scratch *scratch, u8 arg, u64 address, u64 count, u64 total, u32 limit, bool compat)
{
	u32 size = compat ? sizeof(struct narrow_iovec) : sizeof(struct wide_iovec), i;
	struct wide_iovec iov;

	capture_bytes(scratch, arg, PART_IOV, address, count * size, IOVECS * size);
	for (i = 0; i < IOVECS && i < count && !read_iovec(&iov, address, i, compat); i++) {
		iov.size = min(iov.size, total);
		capture_bytes(scratch, arg, PART_DATA, iov.base, iov.size, limit);
		total -= iov.size;
	}
}

/* `size` is that of a msghdr, or of the mmsghdr that begins with one. */
static void capture_msghdr(struct scratch *scratch, u8 arg, u64 address, u32 size, u64 total, u32 limit, bool compat)
{
	struct wide_msghdr msg;

	capture_bytes(scratch, arg, PART_SELF, address, size, size);
	if (read_msghdr(&msg, address, compat))
		return;
	capture_bytes(scratch, arg, PART_NAME, msg.name, msg.name_size, NAME_LIMIT);
	capture_bytes(scratch, arg, PART_CONTROL, msg.control, msg.control_size, CONTROL_LIMIT);
	capture_iovec(scratch, arg, msg.iov, msg.iov_count, total, limit, compat);
}

static u32 header_size(bool compat)
{
	return compat ? sizeof(struct narrow_msghdr) : sizeof(struct wide_msghdr);
}

/* readv, writev, sendmsg, recvmsg and their kin. */
void capture_vector(struct scratch *scratch, const struct capture *one, bool compat)
{
	struct event *event = &scratch->event;
	u64 address = event->args[one->arg], total = one->on_success ? length_of(event, LEN_RESULT) : U64_MAX;

	if (!wanted(event, one))
		return;
	if (one->op == OP_IOVEC)
		capture_iovec(scratch, one->arg, address, length_of(event, one->length), total, one->limit, compat);
	else
		capture_msghdr(scratch, one->arg, address, header_size(compat), total, one->limit, compat);
}

/* sendmmsg and recvmmsg: the first messages. A mmsghdr is a msghdr and the bytes that were sent or received. */
void capture_messages(struct scratch *scratch, const struct capture *one, bool compat)
{
	struct event *event = &scratch->event;
	u32 header = header_size(compat), size = compat ? header + 4 : header + 8, i, moved;
	u64 count = wanted(event, one) ? length_of(event, one->length) : 0;

	for (i = 0; i < MESSAGES && i < count; i++) {
		u64 address = event->args[one->arg] + i * size, total = U64_MAX;

		if (one->on_success)
			total = read_user(&moved, address + header, sizeof(moved)) ? 0 : moved;
		capture_msghdr(scratch, one->arg, address, size, total, one->limit, compat);
	}
}

/* ---- execve ---- */

static void capture_argv(struct scratch *scratch, u8 arg, u64 address, u32 width, u32 limit)
{
	u32 i;

	for (i = 0; address && i < ARGUMENTS; i++) {
		u64 pointer = 0;

		if (read_user(&pointer, address + i * width, width)) {
			capture_bytes(scratch, arg, PART_IOV, address + i * width, width, width);
			break;
		}
		if (!pointer)
			break;
		capture_string(scratch, arg, pointer, limit);
	}
}

/* An empty blob whose `full` is the number of environment variables. */
static void count_envp(struct scratch *scratch, u8 arg, u64 address, u32 width)
{
	struct blob *blob;
	u32 i;

	if (!address)
		return;
	for (i = 0; i < VARIABLES; i++) {
		u64 pointer = 0;

		if (read_user(&pointer, address + i * width, width) || !pointer)
			break;
	}
	blob = new_blob(scratch, arg, PART_SELF, i);
	if (blob)
		close_blob(&scratch->event, blob, 0);
}

/* Path, arguments and the number of variables of the exec that the record is of. */
void capture_exec(struct scratch *scratch, u32 limit)
{
	struct event *event = &scratch->event;
	u32 at = path_argument(event), width = event->abi == ABI_I386 ? 4 : 8;

	capture_string(scratch, at, event->args[at], STRING_MAX - 1);
	capture_argv(scratch, at + 1, event->args[at + 1], width, limit);
	count_envp(scratch, at + 2, event->args[at + 2], width);
}

/* The arguments as they lie on the new program's stack, above their number. */
void capture_new_argv(struct scratch *scratch, u64 sp, u32 width, u32 limit)
{
	capture_argv(scratch, path_argument(&scratch->event) + 1, sp + width, width, limit);
}
