// SPDX-License-Identifier: GPL-2.0-only
/* The generic-netlink family: see isotrace_uapi.h. Policies first, then one function a command. */
#include <linux/module.h>
#include <linux/notifier.h>
#include <net/genetlink.h>
#include <net/sock.h>
#include "call.h"
#include "compat.h"
#include "netlink.h"
#include "session.h"
#include "table.h"

#define MEMBERS_AT_ONCE 256

static struct genl_family family;

static struct netlink_range_validation pid_range = { .min = 1, .max = PIDS - 1 };
static struct netlink_range_validation ring_range = { .min = 65536, .max = 1 << 30 };

static const struct nla_policy target_policy[ISOTRACE_TARGETS] = {
	[ISOTRACE_T_PPID] = NLA_POLICY_FULL_RANGE(NLA_U32, &pid_range),
	[ISOTRACE_T_PID] = NLA_POLICY_FULL_RANGE(NLA_U32, &pid_range),
	[ISOTRACE_T_UID] = { .type = NLA_U32 },
	[ISOTRACE_T_COMM] = NLA_POLICY_EXACT_LEN(TASK_COMM_LEN),
	[ISOTRACE_T_CGROUP] = { .type = NLA_U64 },
	[ISOTRACE_T_CGROUP_LEVEL] = NLA_POLICY_MAX(NLA_U32, 256),
	[ISOTRACE_T_TREE] = NLA_POLICY_FULL_RANGE(NLA_U32, &pid_range),
	[ISOTRACE_T_COMMAND] = NLA_POLICY_FULL_RANGE(NLA_U32, &pid_range),
	[ISOTRACE_T_FOLLOW] = { .type = NLA_FLAG },
};

static const struct nla_policy policy[ISOTRACE_ATTRIBUTES] = {
	[ISOTRACE_A_VERSION] = { .type = NLA_U32 },
	[ISOTRACE_A_RING_BYTES] = NLA_POLICY_FULL_RANGE(NLA_U32, &ring_range),
	[ISOTRACE_A_TARGET] = NLA_POLICY_NESTED(target_policy),
	[ISOTRACE_A_SLOTS] = NLA_POLICY_MIN_LEN(sizeof(struct isotrace_slot)),
	[ISOTRACE_A_RULES] = NLA_POLICY_MIN_LEN(sizeof(struct isotrace_rule)),
	[ISOTRACE_A_HOOKS] = NLA_POLICY_MIN_LEN(sizeof(u64)),
	[ISOTRACE_A_FLAGS] = NLA_POLICY_MAX(NLA_U32, ISOTRACE_F_ALL),
	[ISOTRACE_A_STRING_LIMIT] = NLA_POLICY_RANGE(NLA_U32, 0, STRING_MAX),
};

/* ---- what commands have in common ---- */

static int refuse(struct netlink_ext_ack *ack, int error, const char *why)
{
	if (ack)
		ack->_msg = why;
	return error;
}

/* GENL_ADMIN_PERM has asked for CAP_NET_ADMIN; both are asked of the sender and of whoever opened the socket. */
static int permitted(struct sk_buff *skb, struct netlink_ext_ack *ack)
{
	if (!netlink_capable(skb, CAP_SYS_ADMIN))
		return refuse(ack, -EPERM, "CAP_SYS_ADMIN in the initial user namespace is needed");
	return 0;
}

static struct session *controlled(void)
{
	return rcu_dereference_protected(active, lockdep_is_held(&control));
}

typedef int (*command)(struct session *session, struct genl_info *info, struct nlattr *attribute);

/* Runs `run` for the controller in the state that the command is for. */
static int command_in(enum session_state state, int needs, struct sk_buff *skb, struct genl_info *info, command run)
{
	struct session *session;
	int error = permitted(skb, info->extack);

	if (error)
		return error;
	if (needs && !info->attrs[needs])
		return refuse(info->extack, -EINVAL, "an attribute that the command needs is missing");
	error = take_control(info->extack);
	if (error)
		return error;
	session = controlled();
	if (!session)
		error = refuse(info->extack, -ENOTCONN, "no controller: CLAIM comes first");
	else if (session->controller != NETLINK_CB(skb).sk)
		error = refuse(info->extack, -EBUSY, "another socket is the controller");
	else if (state == CLAIMED ? session->state != CLAIMED : session->state == CLAIMED)
		error = refuse(info->extack, -EBUSY, "the command is for another state");
	else
		error = run(session, info, info->attrs[needs]);
	mutex_unlock(&control);
	return error;
}

/* ---- commands ---- */

static int get_info(struct sk_buff *skb, struct genl_info *info)
{
	struct sk_buff *reply;
	struct session *session;
	u32 busy;
	void *head;
	int error = permitted(skb, info->extack);

	if (!error)
		error = take_control(info->extack);
	if (error)
		return error;
	session = controlled();
	busy = session ? session->self : 0;
	mutex_unlock(&control);
	reply = genlmsg_new(NLMSG_DEFAULT_SIZE, GFP_KERNEL);
	if (!reply)
		return -ENOMEM;
	head = genlmsg_put_reply(reply, info, &family, 0, ISOTRACE_CMD_GET_INFO);
	if (!head || nla_put_u32(reply, ISOTRACE_A_VERSION, ISOTRACE_VERSION) ||
	    nla_put_u32(reply, ISOTRACE_A_MODE, refuse_mode) ||
	    nla_put_string(reply, ISOTRACE_A_TABLE, table_evidence()) || nla_put_u32(reply, ISOTRACE_A_BUSY, busy)) {
		nlmsg_free(reply);
		return -EMSGSIZE;
	}
	genlmsg_end(reply, head);
	return genlmsg_reply(reply, info);
}

static int claim(struct sk_buff *skb, struct genl_info *info)
{
	struct nlattr *version = info->attrs[ISOTRACE_A_VERSION], *ring = info->attrs[ISOTRACE_A_RING_BYTES];
	int error = permitted(skb, info->extack);

	if (error)
		return error;
	if (!version || !ring)
		return refuse(info->extack, -EINVAL, "an attribute that the command needs is missing");
	if (nla_get_u32(version) != ISOTRACE_VERSION)
		return refuse(info->extack, -EPROTO, "the module is of another version");
	if (!is_power_of_2(nla_get_u32(ring)))
		return refuse(info->extack, -EINVAL, "the ring's size is no power of two");
	error = take_control(info->extack);
	if (error)
		return error;
	if (controlled())
		error = refuse(info->extack, -EBUSY, "there is a controller already");
	else
		error = session_claim(NETLINK_CB(skb).sk, info->snd_portid, nla_get_u32(ring));
	mutex_unlock(&control);
	return error;
}

static u32 number_of(struct nlattr **attrs, int which)
{
	return attrs[which] ? nla_get_u32(attrs[which]) : 0;
}

static int take_target(struct session *session, struct genl_info *info, struct nlattr *nested)
{
	struct nlattr *attrs[ISOTRACE_TARGETS];
	struct target target = {};
	int i, error = nla_parse_nested(attrs, ISOTRACE_TARGETS - 1, nested, target_policy, info->extack);

	if (error)
		return error;
	for (i = 1; i < ISOTRACE_TARGETS; i++)
		target.has |= attrs[i] ? 1u << i : 0;
	if (!(target.has & ~(1u << ISOTRACE_T_FOLLOW)))
		return refuse(info->extack, -EINVAL, "a target needs a condition");
	if ((attrs[ISOTRACE_T_TREE] && attrs[ISOTRACE_T_COMMAND]) || !attrs[ISOTRACE_T_CGROUP] != !attrs[ISOTRACE_T_CGROUP_LEVEL])
		return refuse(info->extack, -EINVAL, "these conditions do not go together");
	target.ppid = number_of(attrs, ISOTRACE_T_PPID);
	target.pid = number_of(attrs, ISOTRACE_T_PID);
	target.uid = number_of(attrs, ISOTRACE_T_UID);
	target.tree = number_of(attrs, ISOTRACE_T_TREE);
	target.command = number_of(attrs, ISOTRACE_T_COMMAND);
	target.level = number_of(attrs, ISOTRACE_T_CGROUP_LEVEL);
	if (attrs[ISOTRACE_T_CGROUP])
		target.cgroup = nla_get_u64(attrs[ISOTRACE_T_CGROUP]);
	if (attrs[ISOTRACE_T_COMM])
		nla_memcpy(target.comm, attrs[ISOTRACE_T_COMM], TASK_COMM_LEN);
	session->target = target;
	return 0;
}

static int set_target(struct sk_buff *skb, struct genl_info *info)
{
	return command_in(CLAIMED, ISOTRACE_A_TARGET, skb, info, take_target);
}

static bool valid_slot(const struct isotrace_slot *slot)
{
	int i;

	for (i = 0; i < CAPTURES; i++)
		if (slot->captures[i].op > OP_MESSAGES || slot->captures[i].arg > 5 || slot->captures[i].limit > STRING_MAX ||
		    slot->captures[i].length > LEN_BITS + 5 ||
		    (slot->captures[i].length > LEN_NARROW + 5 && slot->captures[i].length < LEN_BITS) ||
		    (slot->captures[i].length > LEN_POINTER + 5 && slot->captures[i].length < LEN_NARROW) ||
		    (slot->captures[i].length > LEN_RESULT && slot->captures[i].length < LEN_POINTER) ||
		    slot->captures[i].length == LEN_RESULT - 1)
			return false;
	return slot->slot < SLOTS && slot->exit < ISOTRACE_EXITS && slot->enter < ISOTRACE_ENTERS;
}

/* The number of elements, 0 if the attribute has not a whole number of them. */
static u32 elements(const struct nlattr *attribute, size_t size)
{
	return nla_len(attribute) % size ? 0 : nla_len(attribute) / size;
}

static int take_slots(struct session *session, struct genl_info *info, struct nlattr *attribute)
{
	const struct isotrace_slot *slots = nla_data(attribute);
	u32 i, count = elements(attribute, sizeof(*slots));

	for (i = 0; i < count && valid_slot(&slots[i]); i++)
		;
	if (!count || i < count) {
		NL_SET_ERR_MSG_ATTR(info->extack, attribute, "not an array of struct isotrace_slot with known values");
		return -EINVAL;
	}
	for (i = 0; i < count; i++) {
		struct slot_plan *plan = &session->slots[slots[i].slot];

		plan->exit = slots[i].exit;
		plan->enter = slots[i].enter;
		memcpy(plan->captures.list, slots[i].captures, sizeof(slots[i].captures));
		session->logs |= plan->exit || plan->enter;
	}
	return 0;
}

static int add_slots(struct sk_buff *skb, struct genl_info *info)
{
	return command_in(CLAIMED, ISOTRACE_A_SLOTS, skb, info, take_slots);
}

static bool valid_rule(const struct isotrace_rule *rule, u32 least_slot)
{
	return rule->slot < SLOTS && rule->slot >= least_slot && rule->number < ISOTRACE_MAX_NUMBERS &&
	       rule->action < ISOTRACE_ACTIONS && rule->test < ISOTRACE_TESTS && rule->arg < 6 && rule->error > 0 &&
	       rule->error < MAX_ERRNO;
}

static int take_rules(struct session *session, struct genl_info *info, struct nlattr *attribute)
{
	const struct isotrace_rule *rules = nla_data(attribute);
	u32 i, count = elements(attribute, sizeof(*rules)), last = 0;

	if (session->rule_count)
		last = session->rules[session->rule_count - 1].slot;
	for (i = 0; i < count && valid_rule(&rules[i], last); i++)
		last = rules[i].slot;
	if (!count || i < count) {
		NL_SET_ERR_MSG_ATTR(info->extack, attribute, "not an array of struct isotrace_rule in order, with known values");
		return -EINVAL;
	}
	if (count > ISOTRACE_MAX_RULES - session->rule_count)
		return refuse(info->extack, -E2BIG, "too many rules");
	for (i = 0; i < count; i++) {
		u32 slot = rules[i].slot;

		if (!session->rules_of[slot]++)
			session->first[slot] = session->rule_count;
		session->rules[session->rule_count++] = rules[i];
	}
	return 0;
}

static int add_rules(struct sk_buff *skb, struct genl_info *info)
{
	return command_in(CLAIMED, ISOTRACE_A_RULES, skb, info, take_rules);
}

static int take_hooks(struct session *session, struct genl_info *info, struct nlattr *attribute)
{
	u32 i, count = elements(attribute, sizeof(u64));
	u64 address;

	if (!count || count > ISOTRACE_MAX_HOOKS - session->hook_count)
		return refuse(info->extack, -EINVAL, "no addresses, or too many");
	for (i = 0; i < count; i++) {
		memcpy(&address, nla_data(attribute) + i * sizeof(address), sizeof(address));
		if (!is_call_function(address)) {
			NL_SET_ERR_MSG_ATTR(info->extack, attribute, "an address is not the beginning of a system call's function");
			return -EINVAL;
		}
	}
	for (i = 0; i < count; i++) {
		memcpy(&address, nla_data(attribute) + i * sizeof(address), sizeof(address));
		session->hooks[session->hook_count++] = address;
	}
	return 0;
}

static int add_hooks(struct sk_buff *skb, struct genl_info *info)
{
	return command_in(CLAIMED, ISOTRACE_A_HOOKS, skb, info, take_hooks);
}

static int do_start(struct session *session, struct genl_info *info, struct nlattr *flags)
{
	if (!session->target.has)
		return refuse(info->extack, -EINVAL, "no target was set");
	if (!info->attrs[ISOTRACE_A_STRING_LIMIT])
		return refuse(info->extack, -EINVAL, "an attribute that the command needs is missing");
	session->flags = nla_get_u32(flags);
	session->string_limit = nla_get_u32(info->attrs[ISOTRACE_A_STRING_LIMIT]);
	return session_start(session, info->extack);
}

static int start(struct sk_buff *skb, struct genl_info *info)
{
	return command_in(CLAIMED, ISOTRACE_A_FLAGS, skb, info, do_start);
}

static int do_stop(struct session *session, struct genl_info *info, struct nlattr *unused)
{
	session_stop(session);
	return 0;
}

static int stop(struct sk_buff *skb, struct genl_info *info)
{
	return command_in(STARTED, 0, skb, info, do_stop);
}

/* ---- counters and members ---- */

static void count_slot(const struct session *session, u32 slot, struct isotrace_count *count)
{
	unsigned int cpu;

	*count = (struct isotrace_count){ .slot = slot };
	for_each_possible_cpu(cpu) {
		count->seen += READ_ONCE(session->cpus[cpu]->seen[slot]);
		count->lost += READ_ONCE(session->cpus[cpu]->lost[slot]);
	}
}

static int put_seen(struct sk_buff *reply, const struct session *session)
{
	struct isotrace_count count;
	struct nlattr *attribute = nla_reserve(reply, ISOTRACE_A_SEEN, 0);
	u32 slot;

	if (!attribute)
		return -EMSGSIZE;
	for (slot = 0; slot < SLOTS; slot++) {
		count_slot(session, slot, &count);
		if (count.seen && nla_append(reply, sizeof(count), &count))
			return -EMSGSIZE;
	}
	attribute->nla_len = skb_tail_pointer(reply) - (unsigned char *)attribute;
	return 0;
}

static int put_hits(struct sk_buff *reply, const struct session *session)
{
	struct nlattr *attribute;
	u32 i, count = 0;
	u64 *hits;

	for (i = 0; i < session->rule_count; i++)
		count = max_t(u32, count, session->rules[i].number + 1);
	attribute = nla_reserve(reply, ISOTRACE_A_HITS, count * sizeof(*hits));
	if (!attribute)
		return -EMSGSIZE;
	hits = nla_data(attribute);
	for (i = 0; i < count; i++)
		hits[i] = atomic64_read(&session->hits[i]);
	return 0;
}

static int put_counters(struct sk_buff *reply, struct session *session)
{
	u64 extras = 0, records = 0;
	unsigned int cpu;

	for_each_possible_cpu(cpu) {
		extras += READ_ONCE(session->cpus[cpu]->extras_lost);
		records += READ_ONCE(session->cpus[cpu]->records_lost);
	}
	if (nla_put_u64_64bit(reply, ISOTRACE_A_EXTRAS_LOST, extras, ISOTRACE_A_PAD) ||
	    nla_put_u64_64bit(reply, ISOTRACE_A_RECORDS_LOST, records, ISOTRACE_A_PAD) ||
	    nla_put_u64_64bit(reply, ISOTRACE_A_NOT_FOLLOWED, atomic64_read(&session->not_followed), ISOTRACE_A_PAD) ||
	    nla_put_u64_64bit(reply, ISOTRACE_A_JOINED, atomic64_read(&session->joined), ISOTRACE_A_PAD))
		return -EMSGSIZE;
	return put_seen(reply, session) ?: put_hits(reply, session);
}

static int send_counters(struct session *session, struct genl_info *info, struct nlattr *unused)
{
	size_t room = SLOTS * sizeof(struct isotrace_count) + ISOTRACE_MAX_NUMBERS * sizeof(u64) + 256;
	struct sk_buff *reply = genlmsg_new(room, GFP_KERNEL);
	void *head;

	if (!reply)
		return -ENOMEM;
	head = genlmsg_put_reply(reply, info, &family, 0, ISOTRACE_CMD_GET_COUNTERS);
	if (!head || put_counters(reply, session)) {
		nlmsg_free(reply);
		return -EMSGSIZE;
	}
	genlmsg_end(reply, head);
	return genlmsg_reply(reply, info);
}

static int get_counters(struct sk_buff *skb, struct genl_info *info)
{
	return command_in(STARTED, 0, skb, info, send_counters);
}

/* The next members from `pid` on that have not ended, at most `room` of them, in either map. */
static u32 next_members(const struct session *session, u32 *pid, u32 *found, u32 room)
{
	u32 count = 0, tree, followed;

	while (count < room) {
		tree = session->tree ? find_next_bit(session->tree, PIDS, *pid) : PIDS;
		followed = session->followed ? find_next_bit(session->followed, PIDS, *pid) : PIDS;
		*pid = min(tree, followed);
		if (*pid >= PIDS)
			break;
		if (!test_bit(*pid, session->ended))
			found[count++] = *pid;
		(*pid)++;
	}
	return count;
}

static int put_members(struct sk_buff *reply, struct netlink_callback *callback, const struct session *session)
{
	u32 found[MEMBERS_AT_ONCE], pid = callback->args[0], count = next_members(session, &pid, found, MEMBERS_AT_ONCE);
	void *head;

	if (!count)
		return 0;
	head = genlmsg_put(reply, NETLINK_CB(callback->skb).portid, callback->nlh->nlmsg_seq, &family, NLM_F_MULTI,
			   ISOTRACE_CMD_GET_MEMBERS);
	if (!head || nla_put(reply, ISOTRACE_A_MEMBERS, count * sizeof(u32), found))
		return -EMSGSIZE;
	genlmsg_end(reply, head);
	callback->args[0] = pid;
	return reply->len;
}

static int get_members(struct sk_buff *reply, struct netlink_callback *callback)
{
	struct session *session;
	int error = permitted(callback->skb, NULL);

	if (!error)
		error = take_control(NULL);
	if (error)
		return error;
	session = controlled();
	if (!session || session->controller != NETLINK_CB(callback->skb).sk)
		error = session ? -EBUSY : -ENOTCONN;
	else
		error = put_members(reply, callback, session);
	mutex_unlock(&control);
	return error;
}

#define COMMAND(name, function) { .cmd = ISOTRACE_CMD_##name, .doit = function, .flags = GENL_ADMIN_PERM }

static const struct genl_ops commands[] = {
	COMMAND(GET_INFO, get_info),
	COMMAND(CLAIM, claim),
	COMMAND(SET_TARGET, set_target),
	COMMAND(ADD_SLOTS, add_slots),
	COMMAND(ADD_RULES, add_rules),
	COMMAND(ADD_HOOKS, add_hooks),
	COMMAND(START, start),
	COMMAND(STOP, stop),
	COMMAND(GET_COUNTERS, get_counters),
	{ .cmd = ISOTRACE_CMD_GET_MEMBERS, .dumpit = get_members, .flags = GENL_ADMIN_PERM },
};

/* Not netnsok: only in the initial network namespace. In parallel: a command may wait for long, and no other family's is to wait for it. */
static struct genl_family family __ro_after_init = {
	.parallel_ops = true,
	.name = ISOTRACE_FAMILY,
	.version = ISOTRACE_VERSION,
	.maxattr = ISOTRACE_ATTRIBUTES - 1,
	.policy = policy,
	.module = THIS_MODULE,
	.ops = commands,
	.n_ops = ARRAY_SIZE(commands),
	RESERVED_START(ISOTRACE_CMDS)
};

/* ---- the controller's socket is closed ---- */

/*
 * Without the lock: everybody's sockets come here, and must not wait while a command does. A closed socket is dead before its notice comes, and in
 * between another may be bound to its portid: what becomes of that one is nothing to the session.
 */
static bool is_controller(u32 portid)
{
	struct session *session;
	bool found;

	rcu_read_lock();
	session = rcu_dereference(active);
	found = session && session->portid == portid && sock_flag(session->controller, SOCK_DEAD);
	rcu_read_unlock();
	return found;
}

static int socket_released(struct notifier_block *block, unsigned long event, void *data)
{
	struct netlink_notify *notify = data;
	struct session *session;

	if (event != NETLINK_URELEASE || notify->protocol != NETLINK_GENERIC || !net_eq(notify->net, &init_net))
		return NOTIFY_DONE;
	if (!is_controller(notify->portid))
		return NOTIFY_DONE;
	mutex_lock(&control);
	session = controlled();
	if (session && session->portid == notify->portid && sock_flag(session->controller, SOCK_DEAD))
		session_end();
	mutex_unlock(&control);
	return NOTIFY_DONE;
}

static struct notifier_block releases = { .notifier_call = socket_released };

int netlink_register(void)
{
	int error = netlink_register_notifier(&releases);

	if (error)
		return error;
	error = genl_register_family(&family);
	if (error)
		netlink_unregister_notifier(&releases);
	return error;
}

void netlink_unregister(void)
{
	genl_unregister_family(&family);
	netlink_unregister_notifier(&releases);
}
