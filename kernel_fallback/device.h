/* SPDX-License-Identifier: GPL-2.0-only */
/* /dev/isotrace. See device.c. */
#ifndef ISOTRACE_DEVICE_H
#define ISOTRACE_DEVICE_H

int character_device_add(void);
void character_device_await(void);
void character_device_remove(void);

#endif
