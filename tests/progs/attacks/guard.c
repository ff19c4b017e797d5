// SPDX-License-Identifier: GPL-2.0-only
/*
 * Attacks on isotrace itself, and on what holds its programs: PID is a process of isotrace's, or with no rule any other that may be lost.
 * Run as root, and as the user that PID belongs to.
 */
#include "attack.h"
#include <elf.h>
#include <linux/bpf.h>
#include <linux/perf_event.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/uio.h>

static int pid_of(char **arguments)
{
	return atoi(arguments[0]);
}

/* ---- signals ---- */

static int attack_kill(char **arguments)
{
	return verdict("kill", kill(pid_of(arguments), atoi(arguments[1])));
}

static int attack_tkill(char **arguments)
{
	return verdict("tkill", syscall(SYS_tkill, pid_of(arguments), SIGKILL));
}

static int attack_queue(char **arguments)
{
	return verdict("sigqueue", sigqueue(pid_of(arguments), SIGKILL, (union sigval){0}));
}

static int attack_pidfd(char **arguments)
{
	int fd = syscall(SYS_pidfd_open, pid_of(arguments), 0);

	return verdict("pidfd_send_signal", fd < 0 ? -1 : syscall(SYS_pidfd_send_signal, fd, SIGKILL, NULL, 0));
}

/* Others of a group, and of all that there are, go on being met: kill() succeeds where one is. */
static int attack_group(char **arguments)
{
	return verdict("kill of the group", kill(-getpgid(pid_of(arguments)), SIGKILL));
}

/* A file that is written to sends its owner a signal: the kernel does, and asks nobody for the call kill. Ends by whether PID is gone. */
static int attack_sigio(char **arguments)
{
	int pair[2], pid = pid_of(arguments);

	if (pipe(pair) || fcntl(pair[0], F_SETOWN, pid) || fcntl(pair[0], F_SETSIG, SIGKILL))
		return verdict("F_SETOWN", -1);
	if (fcntl(pair[0], F_SETFL, O_ASYNC) || write(pair[1], "x", 1) < 0)
		return verdict("O_ASYNC", -1);
	for (int i = 0; i < 100; i++) {
		char path[64], state = 0;
		FILE *stat;

		snprintf(path, sizeof(path), "/proc/%d/stat", pid);
		stat = fopen(path, "r");
		if (!stat || fscanf(stat, "%*d (%*[^)]) %c", &state) != 1 || state == 'Z')
			return verdict("SIGKILL for SIGIO", 0);
		fclose(stat);
		usleep(20000);
	}
	errno = EPERM;
	return verdict("SIGKILL for SIGIO", -1);
}

/* A counter of PID's sends it SIGTRAP, and asks for CAP_KILL alone (5.13). */
static int attack_sigtrap(char **arguments)
{
	struct perf_event_attr attr = {.type = PERF_TYPE_SOFTWARE, .size = sizeof(attr), .config = PERF_COUNT_SW_CONTEXT_SWITCHES};

	attr.sample_period = 1;
	attr.remove_on_exec = 1;
	attr.sigtrap = 1;
	if (syscall(SYS_perf_event_open, &attr, pid_of(arguments), -1, -1, 0) >= 0)
		return verdict("perf_event_open", 0);
	return errno == E2BIG ? UNTRIED : verdict("perf_event_open", -1);
}

/* RLIMIT_CPU kills. What it asks for is harmless. */
static int attack_limit(char **arguments)
{
	struct rlimit limit;

	if (prlimit(pid_of(arguments), RLIMIT_CPU, NULL, &limit))
		return verdict("prlimit", -1);
	return verdict("prlimit", prlimit(pid_of(arguments), RLIMIT_CPU, &limit, NULL));
}

/* ---- memory, registers, descriptors ---- */

static int attack_attach(char **arguments)
{
	return verdict("ptrace", ptrace(PTRACE_SEIZE, pid_of(arguments), NULL, NULL));
}

/* The parent becomes the tracer: isotrace, where it started the command. */
static int attack_traceme(char **arguments)
{
	(void)arguments;
	if (ptrace(PTRACE_TRACEME, 0, NULL, NULL))
		return verdict("ptrace", -1);
	raise(SIGSTOP);
	return verdict("ptrace", 0);
}

static int opens(const char *name, char **arguments, int flags)
{
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/%s", pid_of(arguments), name);
	return verdict(path, open(path, flags));
}

static int attack_mem(char **arguments)
{
	return opens("mem", arguments, O_RDWR);
}

static int attack_output(char **arguments)
{
	return opens("fd/1", arguments, O_WRONLY);
}

static int attack_oom(char **arguments)
{
	return opens("oom_score_adj", arguments, O_WRONLY);
}

static int attack_vm(char **arguments)
{
	char byte;
	struct iovec here = {&byte, 1}, there = {&byte, 1};
	long got = process_vm_writev(pid_of(arguments), &here, 1, &there, 1, 0);

	return verdict("process_vm_writev", got < 0 && errno == EFAULT ? 0 : got);
}

static int attack_getfd(char **arguments)
{
	int fd = syscall(SYS_pidfd_open, pid_of(arguments), 0);

	return verdict("pidfd_getfd", fd < 0 ? -1 : syscall(SYS_pidfd_getfd, fd, 0, 0));
}

/* ---- bpf(2) ---- */

static long call_bpf(int command, union bpf_attr *attr)
{
	return syscall(SYS_bpf, command, attr, sizeof(*attr));
}

/* Every object by its number: refused where one of them is, and untried where there is none at all. */
static int by_number(const char *what, int following, int get)
{
	union bpf_attr next = {}, wanted = {};
	int seen = 0;

	while (!call_bpf(following, &next)) {
		next.start_id = wanted.map_id = next.next_id;
		seen++;
		if (call_bpf(get, &wanted) < 0 && errno == EPERM)
			return verdict(what, -1);
	}
	if (!seen && errno == EPERM)
		return verdict(what, -1);
	return seen ? verdict(what, 0) : UNTRIED;
}

static int attack_map(char **arguments)
{
	(void)arguments;
	return by_number("a map by its number", BPF_MAP_GET_NEXT_ID, BPF_MAP_GET_FD_BY_ID);
}

static int attack_program(char **arguments)
{
	(void)arguments;
	return by_number("a program by its number", BPF_PROG_GET_NEXT_ID, BPF_PROG_GET_FD_BY_ID);
}

static int attack_link(char **arguments)
{
	(void)arguments;
	return by_number("a link by its number", BPF_LINK_GET_NEXT_ID, BPF_LINK_GET_FD_BY_ID);
}

static int loads(unsigned int type, unsigned int where)
{
	struct bpf_insn code[] = {{.code = BPF_ALU64 | BPF_MOV | BPF_K, .imm = 1}, {.code = BPF_JMP | BPF_EXIT}};
	union bpf_attr attr = {.prog_type = type, .expected_attach_type = where, .insn_cnt = 2};

	attr.insns = (unsigned long)code;
	attr.license = (unsigned long)"GPL";
	return verdict("BPF_PROG_LOAD", call_bpf(BPF_PROG_LOAD, &attr));
}

/* A program that runs in other tasks' context, as one that sends isotrace a signal would. */
static int attack_load(char **arguments)
{
	(void)arguments;
	return loads(BPF_PROG_TYPE_RAW_TRACEPOINT, 0);
}

/* One that gives a connection another address, after the hooks. */
static int attack_rewrite(char **arguments)
{
	(void)arguments;
	return loads(BPF_PROG_TYPE_CGROUP_SOCK_ADDR, BPF_CGROUP_INET4_CONNECT);
}

/* A probe on a program that isotrace runs; in the middle of an instruction it would end who comes by. It is not enabled here. */
static int attack_probe(char **arguments)
{
	struct perf_event_attr attr = {.size = sizeof(attr), .disabled = 1};
	FILE *type = fopen("/sys/bus/event_source/devices/uprobe/type", "r"), *program = fopen(arguments[0], "r");
	Elf64_Ehdr head;

	if (!type || fscanf(type, "%u", &attr.type) != 1 || !program || fread(&head, sizeof(head), 1, program) != 1)
		return UNTRIED;
	fclose(type);
	fclose(program);
	attr.config2 = head.e_entry;
	attr.config1 = (unsigned long)arguments[0];
	return verdict("a uprobe by perf_event_open", syscall(SYS_perf_event_open, &attr, -1, 0, -1, 0));
}

/* ---- switches: each is set to what it is, or opened for writing alone ---- */

static int switches(const char *path)
{
	return access(path, F_OK) ? UNTRIED : verdict(path, open(path, O_WRONLY));
}

static int attack_ftrace(char **arguments)
{
	(void)arguments;
	return switches("/proc/sys/kernel/ftrace_enabled");
}

/* The same by a /proc of one's own. */
static int attack_otherproc(char **arguments)
{
	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) || mount("proc", arguments[0], "proc", 0, NULL))
		return verdict("mount", -1);
	if (chdir(arguments[0]))
		return UNTRIED;
	return switches("sys/kernel/ftrace_enabled");
}

static int attack_kprobes(char **arguments)
{
	(void)arguments;
	mount("none", "/sys/kernel/debug", "debugfs", 0, NULL);
	return switches("/sys/kernel/debug/kprobes/enabled");
}

static int attack_tracefs(char **arguments)
{
	(void)arguments;
	mount("none", "/sys/kernel/tracing", "tracefs", 0, NULL);
	return switches("/sys/kernel/tracing/kprobe_events");
}

static int attack_sysrq(char **arguments)
{
	(void)arguments;
	return switches("/proc/sysrq-trigger");
}

/* The kernel starts what is written there: as root, and outside of the target. */
static int attack_helper(char **arguments)
{
	(void)arguments;
	return switches("/proc/sys/kernel/core_pattern");
}

static int attack_uevent(char **arguments)
{
	(void)arguments;
	return switches("/sys/kernel/uevent_helper");
}

/* cgroup.kill (5.14) of the group in the directory. */
static int attack_cgroup(char **arguments)
{
	char path[4096];

	snprintf(path, sizeof(path), "%s/cgroup.kill", arguments[0]);
	return switches(path);
}

ATTACKS(
	{"kill", attack_kill, 2}, {"tkill", attack_tkill, 1}, {"queue", attack_queue, 1}, {"pidfd", attack_pidfd, 1},
	{"group", attack_group, 1}, {"sigio", attack_sigio, 1}, {"sigtrap", attack_sigtrap, 1}, {"limit", attack_limit, 1},
	{"attach", attack_attach, 1}, {"traceme", attack_traceme, 0}, {"mem", attack_mem, 1}, {"output", attack_output, 1},
	{"oom", attack_oom, 1}, {"vm", attack_vm, 1}, {"getfd", attack_getfd, 1}, {"map", attack_map, 0},
	{"program", attack_program, 0}, {"link", attack_link, 0}, {"load", attack_load, 0}, {"rewrite", attack_rewrite, 0},
	{"probe", attack_probe, 1}, {"ftrace", attack_ftrace, 0},
	{"otherproc", attack_otherproc, 1}, {"kprobes", attack_kprobes, 0}, {"tracefs", attack_tracefs, 0},
	{"sysrq", attack_sysrq, 0}, {"helper", attack_helper, 0}, {"uevent", attack_uevent, 0}, {"cgroup", attack_cgroup, 1})
