// SPDX-License-Identifier: GPL-2.0-only
/* isotrace itself: its maps. */
#include "attack.h"
#include <linux/bpf.h>

static long bpf(int command, union bpf_attr *attributes)
{
	return syscall(SYS_bpf, command, attributes, sizeof(*attributes));
}

static int leave_map(int map)
{
	unsigned self = getpid();
	union bpf_attr with = {.map_fd = map};

	with.key = (unsigned long)&self;
	return !bpf(BPF_MAP_DELETE_ELEM, &with);
}

static int is_tree(int map)
{
	struct bpf_map_info info = {0};
	union bpf_attr with = {0};

	with.info.bpf_fd = map;
	with.info.info_len = sizeof(info);
	with.info.info = (unsigned long)&info;
	return !bpf(BPF_OBJ_GET_INFO_BY_FD, &with) && !strcmp(info.name, "tree");
}

/* FILE: takes itself out of every map of followed pids that it finds by its id. */
static int leave_maps(char **a)
{
	union bpf_attr with;
	unsigned id = 0, left = 0;

	SAY("direct: %s", open(a[0], O_RDONLY) < 0 ? strerror(errno) : "allowed");
	for (;;) {
		int map;

		memset(&with, 0, sizeof(with));
		with.start_id = id;
		if (bpf(BPF_MAP_GET_NEXT_ID, &with))
			break;
		id = with.next_id;
		memset(&with, 0, sizeof(with));
		with.map_id = id;
		map = bpf(BPF_MAP_GET_FD_BY_ID, &with);
		left += map >= 0 && is_tree(map) && leave_map(map);
		if (map >= 0)
			close(map);
	}
	SAY("left %u maps", left);
	return shows("open", open(a[0], O_RDONLY));
}

ATTACKS({"leave_maps", leave_maps, 1})
