// SPDX-License-Identifier: GPL-2.0-only
/* The session that there is, and what it remembers of threads. */
#include <linux/gfp.h>
#include "state.h"

struct session __rcu *active;

/* What is remembered of the thread; NULL when that is nothing, or when there is no memory for it. */
struct thread_note *note_of(struct session *session, u32 pid, bool create)
{
	struct thread_note **place, *page;

	if (pid >= PIDS)
		return NULL;
	place = &session->notes[pid / NOTES_PER_PAGE];
	page = READ_ONCE(*place);
	if (!page && create) {
		page = (void *)get_zeroed_page(GFP_ATOMIC | __GFP_NOWARN);
		if (page && cmpxchg(place, NULL, page)) {
			free_page((unsigned long)page);
			page = READ_ONCE(*place);
		}
	}
	return page ? page + pid % NOTES_PER_PAGE : NULL;
}
