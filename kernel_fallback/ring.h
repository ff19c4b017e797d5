/* SPDX-License-Identifier: GPL-2.0-only */
/* The ring that records go to user space by. See ring.c. */
#ifndef ISOTRACE_RING_H
#define ISOTRACE_RING_H

#include <linux/irq_work.h>
#include <linux/kref.h>
#include <linux/spinlock.h>
#include <linux/types.h>
#include <linux/wait.h>

struct ring {
	struct kref users;
	void *base;			/* the pages as they are mapped: consumer, producer, data twice */
	struct page **pages;
	unsigned long count;		/* of pages of data */
	unsigned long *consumer, *producer;
	char *data;
	unsigned long mask;
	raw_spinlock_t lock;
	struct wait_queue_head wait;
	struct irq_work wake;
};

struct ring *ring_create(u32 bytes);
void ring_put(struct ring *ring);
bool ring_write(struct ring *ring, const void *record, u32 size);

#endif
