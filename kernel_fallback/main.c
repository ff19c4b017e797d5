// SPDX-License-Identifier: GPL-2.0-only
/*
 * isotrace's kernel module: logs system calls and refuses some of them where BPF cannot. It does nothing until a
 * controller asks for it, see isotrace_uapi.h.
 */
#include <linux/init.h>
#include <linux/module.h>
#include "device.h"
#include "hooks.h"
#include "netlink.h"
#include "session.h"
#include "table.h"

static const char * const mode_names[] = { "no way to deny calls", "calls are denied by ftrace", "calls are denied by sys_call_table" };

static int __init isotrace_init(void)
{
	int error;

	if (IS_ENABLED(CONFIG_PREEMPT_RT)) {
		pr_err("isotrace: a PREEMPT_RT kernel's locks sleep where this module must not\n");
		return -EOPNOTSUPP;
	}
	error = probes_find();
	if (error)
		return error;
	error = mode_choose();
	if (error)
		return error;
	error = character_device_add();
	if (error)
		return error;
	error = netlink_register();
	if (error)
		goto no_netlink;
	pr_info("isotrace: version %d: %s; %s\n", ISOTRACE_VERSION, mode_names[refuse_mode], table_evidence());
	return 0;

no_netlink:
	character_device_remove();
	return error;
}

/*
 * A controller and every open device hold the module, so that there is none when this runs, but for rmmod -f. That ends the session, and waits until
 * the controller has closed the device: it is told by the next command that it sends.
 */
static void __exit isotrace_exit(void)
{
	netlink_unregister();
	mutex_lock(&control);
	if (rcu_access_pointer(active))
		session_end();
	mutex_unlock(&control);
	character_device_remove();
	character_device_await();
}

module_init(isotrace_init);
module_exit(isotrace_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("isotrace: logs and denies system calls where BPF cannot");
MODULE_AUTHOR("isotrace");
