// SPDX-License-Identifier: GPL-2.0-only
/* The one controller, what it set, and how that begins and ends. */
#include <linux/delay.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>
#include <net/sock.h>
#include "hooks.h"
#include "ring.h"
#include "session.h"
#include "watch.h"

DEFINE_MUTEX(control);	/* of `active` and all that hangs on it; probes read it under RCU */

static void session_free(struct session *session)
{
	unsigned int i;

	for (i = 0; session->cpus && i < nr_cpu_ids; i++)
		kvfree(session->cpus[i]);
	for (i = 0; session->notes && i < NOTE_PAGES; i++)
		free_page((unsigned long)session->notes[i]);
	kfree(session->cpus);
	kvfree(session->notes);
	kvfree(session->tree);
	kvfree(session->followed);
	kvfree(session->ended);
	kvfree(session->births);
	kvfree(session->rules);
	kvfree(session->hits);
	kvfree(session->hooks);
	if (session->ring)
		ring_put(session->ring);
	kvfree(session);
}

static bool allocate(struct session *session, u32 ring_bytes)
{
	unsigned int cpu;

	session->ring = ring_create(ring_bytes);
	session->notes = kvcalloc(NOTE_PAGES, sizeof(*session->notes), GFP_KERNEL);
	session->rules = kvcalloc(ISOTRACE_MAX_RULES, sizeof(*session->rules), GFP_KERNEL);
	session->hits = kvcalloc(ISOTRACE_MAX_NUMBERS, sizeof(*session->hits), GFP_KERNEL);
	session->hooks = kvcalloc(ISOTRACE_MAX_HOOKS, sizeof(*session->hooks), GFP_KERNEL);
	session->cpus = kcalloc(nr_cpu_ids, sizeof(*session->cpus), GFP_KERNEL);
	if (!session->ring || !session->notes || !session->rules || !session->hits || !session->hooks || !session->cpus)
		return false;
	for_each_possible_cpu(cpu) {
		session->cpus[cpu] = kvzalloc_node(sizeof(**session->cpus), GFP_KERNEL, cpu_to_node(cpu));
		if (!session->cpus[cpu])
			return false;
	}
	return true;
}

/*
 * Takes `control`. Who has it may be waiting until every task has yielded (synchronize_rcu_tasks), which on a preemptible kernel lasts as long as some
 * task spins: nobody else waits for that for more than a few seconds.
 */
int take_control(struct netlink_ext_ack *ack)
{
	unsigned long end = jiffies + 3 * HZ;

	while (!mutex_trylock(&control)) {
		if (time_after(jiffies, end)) {
			NL_SET_ERR_MSG(ack, "another command waits until every task has yielded: try again later");
			return -EBUSY;
		}
		if (msleep_interruptible(10))
			return -EINTR;
	}
	return 0;
}

/* The socket becomes the controller; it holds the module until session_end(). With `control` held. */
int session_claim(struct sock *controller, u32 portid, u32 ring_bytes)
{
	struct session *session;

	if (!try_module_get(THIS_MODULE))
		return -ENODEV;
	session = kvzalloc(sizeof(*session), GFP_KERNEL);
	if (!session || !allocate(session, ring_bytes)) {
		if (session)
			session_free(session);
		module_put(THIS_MODULE);
		return -ENOMEM;
	}
	sock_hold(controller);
	session->controller = controller;
	session->portid = portid;
	session->self = task_tgid_nr(current);
	session->watermark = ring_bytes / 8;
	rcu_assign_pointer(active, session);
	return 0;
}

/* Takes everything back, in the reverse order of its making. With `control` held. */
void session_end(void)
{
	struct session *session = rcu_dereference_protected(active, lockdep_is_held(&control));

	session_stop(session);
	rcu_assign_pointer(active, NULL);
	synchronize_rcu();
	sock_put(session->controller);
	session_free(session);
	module_put(THIS_MODULE);
}

static int allocate_maps(struct session *session)
{
	bool tree = target_has(session, ISOTRACE_T_TREE) || target_has(session, ISOTRACE_T_COMMAND);
	bool followed = target_has(session, ISOTRACE_T_FOLLOW) || target_keeps(session);

	if (tree)
		session->tree = kvcalloc(BITS_TO_LONGS(PIDS), sizeof(long), GFP_KERNEL);
	if (followed)
		session->followed = kvcalloc(BITS_TO_LONGS(PIDS), sizeof(long), GFP_KERNEL);
	if (!tree && !followed)
		return 0;
	session->ended = kvcalloc(BITS_TO_LONGS(PIDS), sizeof(long), GFP_KERNEL);
	session->births = kvcalloc(BIRTHS, sizeof(*session->births), GFP_KERNEL);
	if ((tree && !session->tree) || (followed && !session->followed) || !session->ended || !session->births)
		return -ENOMEM;
	return 0;
}

static void free_maps(struct session *session)
{
	kvfree(session->tree);
	kvfree(session->followed);
	kvfree(session->ended);
	kvfree(session->births);
	session->tree = NULL;
	session->followed = NULL;
	session->ended = NULL;
	session->births = NULL;
}

/* From here on calls are recorded and refused; on an error none is. With `control` held. */
int session_start(struct session *session, struct netlink_ext_ack *ack)
{
	int error = allocate_maps(session);

	if (error)
		goto no_maps;
	atomic_set(&session->birth_count, 0);
	session->seeding = target_descends(session) && !session->target.command;
	error = probes_attach(session);
	if (error)
		goto no_maps;
	if (session->seeding)
		seed(session);
	error = hooks_attach(session, ack);
	if (error)
		goto no_hooks;
	session->state = STARTED;
	return 0;

no_hooks:
	probes_detach();
no_maps:
	free_maps(session);
	return error;
}

/* Nothing of the module runs for a call any more when this returns, and no task will return into it. */
void session_stop(struct session *session)
{
	if (session->state != STARTED)
		return;
	hooks_detach(session);
	probes_detach();
	session->state = STOPPED;
}
