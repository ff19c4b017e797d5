/* SPDX-License-Identifier: GPL-2.0-only */
/* Where the module is hooked in. See hooks.c. */
#ifndef ISOTRACE_HOOKS_H
#define ISOTRACE_HOOKS_H

#include <linux/netlink.h>
#include "state.h"

int probes_find(void);
int probes_attach(struct session *session);
void probes_detach(void);
int hooks_attach(struct session *session, struct netlink_ext_ack *ack);
void hooks_detach(struct session *session);

#endif
