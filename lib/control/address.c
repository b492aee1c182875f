/* SPDX-License-Identifier: BSD-3-Clause */
#include "control/address.h"

#include "util/cleanup.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>

int thin_control_address_init(struct thin_control_address *a, const char *dir)
{
	a->dir = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (a->dir < 0)
		return -errno;
	a->un.sun_family = AF_UNIX;
	snprintf(a->un.sun_path, sizeof(a->un.sun_path),
		 "/proc/self/fd/%d/" THIN_CONTROL_SOCKET, a->dir);
	return 0;
}

void thin_control_address_fini(struct thin_control_address *a)
{
	if (a->dir >= 0)
		(void)close(a->dir);
	a->dir = -1;
}

int thin_control_connect(const struct thin_control_address *a, int *ret_fd)
{
	_cleanup_close int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -errno;
	if (connect(fd, (const struct sockaddr *)&a->un, sizeof(a->un)) < 0)
		return errno == ECONNREFUSED ? -ENOENT : -errno;
	*ret_fd = fd;
	fd = -1;
	return 0;
}
