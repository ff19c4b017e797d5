// SPDX-License-Identifier: GPL-2.0-only
/* The ring and /dev/isotrace, in the layout of kernel/bpf/ringbuf.c, so that one reader reads both. */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include "isotrace.h"
#include "compat.h"

#define BUSY (1u << 31)
#define POSITIONS 2	/* pages before the data */

struct header {
	u32 length, offset;
};

static void wake_reader(struct irq_work *work)
{
	wake_up_interruptible(&container_of(work, struct ring, wake)->wait);
}

static void ring_free(struct kref *users)
{
	struct ring *ring = container_of(users, struct ring, users);
	unsigned long i;

	irq_work_sync(&ring->wake);
	vunmap(ring->base);
	for (i = 0; ring->pages && i < ring->count + POSITIONS && ring->pages[i]; i++)
		__free_page(ring->pages[i]);	/* what is still mapped keeps its pages */
	kvfree(ring->pages);
	kfree(ring);
}

void ring_put(struct ring *ring)
{
	kref_put(&ring->users, ring_free);
}

static bool ring_pages(struct ring *ring)
{
	unsigned long i, count = ring->count;

	ring->pages = kvcalloc(2 * count + POSITIONS, sizeof(*ring->pages), GFP_KERNEL);
	for (i = 0; ring->pages && i < count + POSITIONS; i++) {
		ring->pages[i] = alloc_page(GFP_KERNEL_ACCOUNT | __GFP_ZERO | __GFP_RETRY_MAYFAIL | __GFP_NOWARN);
		if (!ring->pages[i])
			return false;
		if (i >= POSITIONS)
			ring->pages[i + count] = ring->pages[i];
	}
	return ring->pages;
}

/* `bytes` of data: a power of two and at least a page. */
struct ring *ring_create(u32 bytes)
{
	struct ring *ring = kzalloc(sizeof(*ring), GFP_KERNEL);

	if (!ring)
		return NULL;
	kref_init(&ring->users);
	raw_spin_lock_init(&ring->lock);
	init_waitqueue_head(&ring->wait);
	init_irq_work(&ring->wake, wake_reader);
	ring->count = bytes >> PAGE_SHIFT;
	ring->mask = bytes - 1;
	if (ring_pages(ring))
		ring->base = vmap(ring->pages, 2 * ring->count + POSITIONS, VM_MAP | VM_USERMAP, PAGE_KERNEL);
	if (!ring->base) {
		ring_put(ring);
		return NULL;
	}
	ring->consumer = ring->base;
	ring->producer = ring->base + PAGE_SIZE;
	ring->data = ring->base + POSITIONS * PAGE_SIZE;
	return ring;
}

/*
 * Appends a record; false when there is no room. With preemption disabled. Whatever the reader writes to its position, no
 * more than the ring's own memory is written: it can only spoil what it reads.
 */
bool ring_write(struct ring *ring, const void *record, u32 size)
{
	u32 length = round_up(size + sizeof(struct header), 8);
	unsigned long consumer = smp_load_acquire(ring->consumer), producer, flags;	/* what it has read may be overwritten */
	struct header *header;

	raw_spin_lock_irqsave(&ring->lock, flags);
	producer = READ_ONCE(*ring->producer);
	if (length > ring->mask || producer + length - consumer > ring->mask) {
		raw_spin_unlock_irqrestore(&ring->lock, flags);
		return false;
	}
	header = (void *)ring->data + (producer & ring->mask);
	header->length = size | BUSY;
	header->offset = ((void *)header - ring->base) >> PAGE_SHIFT;
	smp_store_release(ring->producer, producer + length);	/* the reader finds the header, which says BUSY */
	raw_spin_unlock_irqrestore(&ring->lock, flags);
	memcpy(header + 1, record, size);
	smp_store_release(&header->length, size);	/* the record is whole */
	return true;
}

/* ---- /dev/isotrace ---- */

static atomic_t openings;
static DECLARE_WAIT_QUEUE_HEAD(closed);

static int device_open(struct inode *inode, struct file *file)
{
	struct session *session;
	int error = take_control(NULL);

	if (error)
		return error;
	error = -ENOTCONN;
	session = rcu_dereference_protected(active, lockdep_is_held(&control));
	if (session) {
		error = session->self == task_tgid_nr(current) ? 0 : -EBUSY;
		if (!error) {
			kref_get(&session->ring->users);
			file->private_data = session->ring;
			atomic_inc(&openings);
		}
	}
	mutex_unlock(&control);
	return error;
}

static int device_release(struct inode *inode, struct file *file)
{
	ring_put(file->private_data);
	if (atomic_dec_and_test(&openings))
		wake_up(&closed);
	return 0;
}

/* The reader's position alone may be written; all else is for reading, now and after mprotect(). */
static int device_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct ring *ring = file->private_data;
	unsigned long size = vma->vm_end - vma->vm_start;

	if (!(vma->vm_flags & VM_SHARED))
		return -EINVAL;
	if (vma->vm_pgoff == 0) {
		if (size != PAGE_SIZE)
			return -EINVAL;
	} else {
		if (vma->vm_flags & VM_WRITE)
			return -EPERM;
		if (vma->vm_pgoff != 1 || size > (2 * ring->count + 1) << PAGE_SHIFT)
			return -EINVAL;
		isotrace_forbid(vma, VM_MAYWRITE);
	}
	isotrace_forbid(vma, VM_MAYEXEC);
	return remap_vmalloc_range(vma, ring->base, vma->vm_pgoff);
}

static __poll_t device_poll(struct file *file, poll_table *table)
{
	struct ring *ring = file->private_data;

	poll_wait(file, &ring->wait, table);
	/* pairs with ring_write() */
	return smp_load_acquire(ring->producer) - READ_ONCE(*ring->consumer) > ring->mask / 8 ? EPOLLIN | EPOLLRDNORM : 0;
}

static const struct file_operations operations = {
	.owner = THIS_MODULE,
	.open = device_open,
	.release = device_release,
	.mmap = device_mmap,
	.poll = device_poll,
	.llseek = noop_llseek,
};

static struct miscdevice device = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "isotrace",
	.fops = &operations,
	.mode = 0600,
};

int character_device_add(void)
{
	return misc_register(&device);
}

void character_device_remove(void)
{
	misc_deregister(&device);
}

/* Waits until nobody has the device open or mapped. */
void character_device_await(void)
{
	wait_event(closed, !atomic_read(&openings));
	synchronize_rcu_tasks();	/* whoever closed it last is out of device_release() */
}
