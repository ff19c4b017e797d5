// SPDX-License-Identifier: GPL-2.0-only
/* /dev/isotrace: the ring of the session that there is, mapped by the controller's process. */
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/poll.h>
#include <linux/vmalloc.h>
#include "compat.h"
#include "device.h"
#include "ring.h"
#include "session.h"

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
