/* SPDX-License-Identifier: GPL-2.0-only */
/* The generic-netlink family. See netlink.c. */
#ifndef ISOTRACE_NETLINK_H
#define ISOTRACE_NETLINK_H

int netlink_register(void);
void netlink_unregister(void);

#endif
