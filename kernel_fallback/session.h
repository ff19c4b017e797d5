/* SPDX-License-Identifier: GPL-2.0-only */
/* The one controller, and its session from its beginning to its end. See session.c. */
#ifndef ISOTRACE_SESSION_H
#define ISOTRACE_SESSION_H

#include <linux/mutex.h>
#include <linux/netlink.h>
#include "state.h"

extern struct mutex control;	/* held to change what `active` points to */

int take_control(struct netlink_ext_ack *ack);
int session_claim(struct sock *controller, u32 portid, u32 ring_bytes);
void session_end(void);
int session_start(struct session *session, struct netlink_ext_ack *ack);
void session_stop(struct session *session);

#endif
