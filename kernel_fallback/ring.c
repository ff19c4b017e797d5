// SPDX-License-Identifier: GPL-2.0-only
/* The ring, in the layout of kernel/bpf/ringbuf.c, so that one reader reads both. */
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include "ring.h"

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
