/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_CONTROL_ADDRESS_H
#define THINBD_CONTROL_ADDRESS_H

#include "util/errors.h"

#include <sys/socket.h>
#include <sys/un.h>

/*
 * The address of DIR/control.  A socket's address holds 107 bytes and paths
 * are longer, so it leads through an open descriptor of the folder.
 */
struct thin_control_address {
	int dir; /* to be closed with thin_control_address_fini() */
	struct sockaddr_un un;
};

#define THIN_CONTROL_SOCKET "control"

/* Returns 0, or what opening the folder @dir says. */
THIN_MUST_CHECK int thin_control_address_init(struct thin_control_address *a,
					      const char *dir);
void thin_control_address_fini(struct thin_control_address *a);

/*
 * Connect.  Returns 0; -ENOENT (nobody listens: no socket, or a stale one);
 * what the system says.
 */
THIN_MUST_CHECK int thin_control_connect(const struct thin_control_address *a,
					 int *ret_fd);

#endif
