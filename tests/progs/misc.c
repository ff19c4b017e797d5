/* SPDX-License-Identifier: GPL-2.0-only */
/* Calls with structures, of every kind that a program can make without waiting for another; compared with strace. */
#include "expect.h"
#include <linux/futex.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/sendfile.h>
#include <sys/shm.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/timerfd.h>
#include <sys/time.h>
#include <sys/times.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <termios.h>
#include <time.h>

static void waiting(void)
{
	struct timespec none = { 0, 0 }, soon = { 0, 1000 };
	struct epoll_event event = { EPOLLIN | EPOLLET, { .u64 = 7 } }, events[4];
	struct pollfd polled[2];
	struct timeval tv = { 0, 10 };
	int fds[2], ep, futex = 1;
	fd_set readable, writable;

	if (pipe(fds))
		return;
	polled[0] = (struct pollfd){ fds[0], POLLIN, 0 };
	polled[1] = (struct pollfd){ fds[1], POLLOUT | POLLERR, 0 };
	poll(polled, 2, 0);
	poll(polled, 1, 0);
	ppoll(polled, 2, &none, NULL);
	FD_ZERO(&readable);
	FD_ZERO(&writable);
	FD_SET(fds[0], &readable);
	FD_SET(fds[1], &writable);
	select(fds[1] + 1, &readable, NULL, NULL, &tv);
	FD_SET(fds[0], &readable);
	select(fds[1] + 1, NULL, &writable, NULL, NULL);
	ep = epoll_create1(EPOLL_CLOEXEC);
	epoll_ctl(ep, EPOLL_CTL_ADD, fds[0], &event);
	epoll_wait(ep, events, 4, 0);
	if (write(fds[1], "x", 1) < 0)
		return;
	epoll_wait(ep, events, 4, 0);
	epoll_ctl(ep, EPOLL_CTL_DEL, fds[0], NULL);
	syscall(SYS_futex, &futex, FUTEX_WAIT_PRIVATE, 2, &soon);
	syscall(SYS_futex, &futex, FUTEX_WAKE, 1);
	nanosleep(&soon, NULL);
	nanosleep(&soon, &none);
	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &soon, NULL);
}

static void files(void)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 1, .l_len = 2 };
	struct timespec times[2] = { { 5, 6 }, { 0, UTIME_OMIT } };
	struct statx extended;
	struct statfs space;
	char value[16];
	int fd = open("misc.data", O_RDWR | O_CREAT | O_TRUNC, 0644), out = open("misc.copy", O_RDWR | O_CREAT, 0600);
	struct termios terminal;
	struct winsize window;
	loff_t at = 0;
	int waiting;

	ftruncate(fd, 100);
	fcntl(fd, F_SETLK, &lock);
	fcntl(fd, F_GETLK, &lock);
	fcntl(fd, F_GETFL);
	fcntl(fd, F_SETFL, O_APPEND | O_NONBLOCK);
	fcntl(fd, F_GETFD);
	fcntl(fd, F_SETFD, FD_CLOEXEC);
	fcntl(fd, F_DUPFD_CLOEXEC, 50);
	flock(fd, LOCK_EX | LOCK_NB);
	fallocate(fd, FALLOC_FL_KEEP_SIZE, 0, 10);
	syscall(SYS_statx, fd, "", AT_EMPTY_PATH, STATX_SIZE | STATX_MODE, &extended);
	utimensat(AT_FDCWD, "misc.data", times, 0);
	fchmod(fd, 0600);
	fsetxattr(fd, "user.name", "val\001ue", 6, XATTR_CREATE);
	fgetxattr(fd, "user.name", value, sizeof(value));
	flistxattr(fd, value, sizeof(value));
	sendfile(out, fd, &at, 10);
	copy_file_range(fd, &at, out, NULL, 5, 0);
	fstatfs(-1, &space);
	ioctl(fd, TCGETS, &terminal);
	ioctl(fd, TIOCGWINSZ, &window);
	ioctl(fd, FIONREAD, &waiting);
	ioctl(fd, _IOW('x', 200, int), 77);
	fsync(fd);
	sync_file_range(fd, 0, 10, SYNC_FILE_RANGE_WRITE);
	posix_fadvise(fd, 0, 10, POSIX_FADV_RANDOM);
	unlink("misc.data");
	unlink("misc.copy");
}

static void processes(void)
{
	struct rlimit limit;
	struct sched_param parameter = { 0 };
	struct rusage usage;
	struct utsname name;
	struct tms spent;
	siginfo_t info;
	cpu_set_t cpus;
	int status;
	gid_t groups[64];
	pid_t pid;

	getrlimit(RLIMIT_NOFILE, &limit);
	setrlimit(RLIMIT_CORE, &(struct rlimit){ 0, RLIM_INFINITY });
	getpriority(PRIO_PROCESS, 0);
	sched_getscheduler(0);
	sched_setscheduler(0, SCHED_BATCH, &parameter);
	sched_getparam(0, &parameter);
	CPU_ZERO(&cpus);
	CPU_SET(0, &cpus);
	sched_setaffinity(0, sizeof(cpus), &cpus);
	sched_getaffinity(0, sizeof(cpus), &cpus);
	prctl(PR_SET_NAME, "a name");
	prctl(PR_GET_DUMPABLE);
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	prctl(PR_SVE_SET_VL, PR_SVE_VL_INHERIT | 0x80020);
	prctl(63 /* PR_SME_SET_VL */, 32);
	prctl(PR_PAC_RESET_KEYS, PR_PAC_APIAKEY | PR_PAC_APGAKEY, 0, 0, 0);
	prctl(60 /* PR_PAC_SET_ENABLED_KEYS */, PR_PAC_APIAKEY, 0, 0, 0);
	prctl(PR_SET_TAGGED_ADDR_CTRL, PR_TAGGED_ADDR_ENABLE | 2 | 5 << 3, 1, 2, 3);
	prctl(PR_SET_UNALIGN, PR_UNALIGN_SIGBUS);
	prctl(PR_GET_ENDIAN, &status);
	syscall(SYS_ioprio_set, 2, 1 << 30, 2 << 13 | 4);
	syscall(SYS_futex, &status, FUTEX_WAKE_OP, 1, 0, &status, 6 << 28 | 7 << 24);
	uname(&name);
	getgroups(64, groups);
	getresuid(&groups[0], &groups[1], &groups[2]);
	setreuid(-1, -1);
	umask(022);
	times(&spent);
	pid = fork();
	if (pid == 0)
		_exit(6);
	waitid(P_PID, pid, &info, WEXITED | WNOWAIT);
	wait4(pid, &status, 0, &usage);
	wait4(-1, &status, WNOHANG, NULL);
}

static void kernel_objects(void)
{
	struct itimerspec timer = { { 0, 0 }, { 5, 6 } };
	struct itimerval interval = { { 0, 0 }, { 100, 0 } }, before;
	stack_t stack = { .ss_flags = SS_DISABLE };
	sigset_t set;
	void *memory;
	int fd, shm;
	uint64_t count;

	sigemptyset(&set);
	sigaddset(&set, SIGUSR1);
	sigaddset(&set, SIGRTMIN + 3);
	sigprocmask(SIG_BLOCK, &set, NULL);
	signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	sigaltstack(&stack, NULL);
	fd = eventfd(3, EFD_NONBLOCK | EFD_CLOEXEC);
	if (read(fd, &count, 8) < 0)
		return;
	fd = timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC);
	timerfd_settime(fd, 0, &timer, NULL);
	setitimer(ITIMER_REAL, &interval, &before);
	interval.it_value.tv_sec = 0;
	setitimer(ITIMER_REAL, &interval, NULL);
	fd = inotify_init1(IN_CLOEXEC);
	inotify_add_watch(fd, "/", IN_CREATE | IN_DELETE | IN_ONLYDIR);
	shm = shmget(IPC_PRIVATE, 4096, IPC_CREAT | 0600);
	memory = shmat(shm, NULL, SHM_RDONLY);
	shmdt(memory);
	shmctl(shm, IPC_RMID, NULL);
	memory = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	madvise(memory, 4096, MADV_DONTNEED);
	mprotect(memory, 4096, PROT_NONE);
	mremap(memory, 8192, 16384, MREMAP_MAYMOVE);
	msync(memory, 4096, MS_SYNC);
	syscall(SYS_memfd_create, "memory", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	clock_getres(CLOCK_REALTIME, &timer.it_value);
	syscall(SYS_membarrier, 0, 0, 0);
	syscall(SYS_close_range, 100, 200, 0);
	syscall(SYS_pidfd_open, -1, 0);
	syscall(SYS_kcmp, 1, 2, 99, 3, 4);
	syscall(SYS_mount, "none", "/missing", "tmpfs", 0xc0ed0000 | 1, "data");
	syscall(SYS_umount2, "/missing", 2);
	syscall(SYS_sethostname, NULL, -1);
	syscall(SYS_reboot, 1, 2, 3, NULL);
	syscall(SYS_bpf, 999, NULL, 0);
	syscall(SYS_setns, -1, 0x20000);
	syscall(SYS_unshare, 0x10);
}

int main(void)
{
	waiting();
	files();
	processes();
	kernel_objects();
	return 0;
}
