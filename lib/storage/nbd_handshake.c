/* SPDX-License-Identifier: BSD-3-Clause */
#include "storage/nbd_conn.h"

#include "util/checked.h"

#include <errno.h>
#include <inttypes.h>
#include <libnbd.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

/*
 * Getting to know a server, for the first time and after it was lost.
 *
 * A server that hangs is told from one that is slow by the network: its
 * machine must answer TCP's probes, or acknowledge what we send, within
 * THIN_NBD_RECONNECT_MS.  How long it takes for a request is its affair.
 */

void thin_nbd_export_fini(struct thin_nbd_export *x)
{
	free(x->name);
	x->name = NULL;
}

/* Whoever had nothing to flush was never asked to, and must not begin to cache (S2). */
static bool writes_otherwise(const struct thin_nbd_export *was,
			     const struct thin_nbd_export *now)
{
	return was->can_flush != now->can_flush || (was->can_zero && !now->can_zero) ||
	       (was->can_trim && !now->can_trim) || now->readonly;
}

int thin_nbd_export_same(const struct thin_nbd_export *was,
			 const struct thin_nbd_export *now, bool readonly,
			 struct thin_error *e)
{
	if (now->size < was->size || (readonly && now->size > was->size))
		return thin_error_set(e, -ESTALE,
				      "its size was %" PRIu64 " and is %" PRIu64,
				      was->size, now->size);
	if (was->name && now->name && strcmp(was->name, now->name))
		return thin_error_set(e, -ESTALE, "the export was %s and is %s",
				      was->name, now->name);
	if (now->min_block > was->min_block || now->max_block < was->max_block)
		return thin_error_set(e, -ESTALE,
				      "its limits of block sizes have changed");
	if ((was->can_extents && !now->can_extents) ||
	    (!readonly && writes_otherwise(was, now)))
		return thin_error_set(e, -ESTALE, "its abilities are not what they were");
	return 0;
}

/* Milliseconds until @deadline_ns, for poll(); at least 1 until it is over. */
static int time_left(uint64_t deadline_ns)
{
	uint64_t now = thin_now_ns();

	if (deadline_ns == UINT64_MAX)
		return -1;
	return deadline_ns <= now
		       ? 0
		       : (int)thin_min(thin_div_up(deadline_ns - now, 1000000), 60000);
}

static int wait_for(struct pollfd *fds, uint64_t deadline_ns)
{
	int r;

	do {
		r = poll(fds, 2, time_left(deadline_ns));
		if (r > 0)
			return 0;
		if (r < 0 && errno != EINTR)
			return -EIO;
	} while (r < 0 || time_left(deadline_ns));
	return -ETIMEDOUT;
}

int thin_nbd_poll(struct nbd_handle *nbd, int wake_fd, uint64_t deadline_ns)
{
	unsigned direction = nbd_aio_get_direction(nbd);
	bool reads = direction & LIBNBD_AIO_DIRECTION_READ;
	bool writes = direction & LIBNBD_AIO_DIRECTION_WRITE;
	struct pollfd fds[2] = {
		{.fd = nbd_aio_get_fd(nbd), .events = 0},
		{.fd = wake_fd, .events = POLLIN},
	};
	eventfd_t drained;
	int r;

	fds[0].events = (short)((reads ? POLLIN : 0) | (writes ? POLLOUT : 0));
	r = wait_for(fds, deadline_ns);
	if (r)
		return r;
	if (fds[1].revents & POLLIN)
		(void)eventfd_read(wake_fd, &drained);
	if (reads && fds[0].revents & (POLLIN | POLLHUP))
		return nbd_aio_notify_read(nbd) ? -EIO : 0;
	if (writes && fds[0].revents & POLLOUT)
		return nbd_aio_notify_write(nbd) ? -EIO : 0;
	return fds[0].revents & (POLLERR | POLLHUP | POLLNVAL) ? -EIO : 0;
}

static uint32_t block_size(struct nbd_handle *nbd, int which, uint32_t otherwise)
{
	int64_t n = nbd_get_block_size(nbd, which);

	return n > 0 ? (uint32_t)thin_min((uint64_t)n, UINT32_MAX) : otherwise;
}

static int describe(struct nbd_handle *nbd, struct thin_nbd_export *ret,
		    struct thin_error *e)
{
	struct thin_nbd_export x = {0};
	int64_t size = nbd_get_size(nbd);

	if (size < 0)
		return thin_error_set(e, -EIO, "%s", nbd_get_error());
	x.size = (uint64_t)size;
	x.min_block = block_size(nbd, LIBNBD_SIZE_MINIMUM, 1);
	x.max_block = block_size(nbd, LIBNBD_SIZE_MAXIMUM, (uint32_t)THIN_MAX_REQUEST);
	x.max_block = (uint32_t)thin_min(x.max_block, THIN_MAX_REQUEST);
	x.max_block -= x.max_block % x.min_block;
	if (!x.max_block || x.min_block & (x.min_block - 1))
		return thin_error_set(e, -EIO, "its block sizes make no sense");
	x.readonly = nbd_is_read_only(nbd) > 0;
	x.can_flush = nbd_can_flush(nbd) > 0;
	x.can_zero = nbd_can_zero(nbd) > 0;
	x.can_trim = nbd_can_trim(nbd) > 0;
	x.can_multi_conn = nbd_can_multi_conn(nbd) > 0;
	x.can_extents = nbd_can_meta_context(nbd, LIBNBD_CONTEXT_BASE_ALLOCATION) > 0;
	x.name = nbd_get_canonical_export_name(nbd);
	*ret = x;
	return 0;
}

/* Fails, harmlessly, where the socket is none of TCP. */
static void notice_dead_peers(int fd)
{
	static const struct {
		int level, name, value;
	} options[] = {
		{SOL_SOCKET, SO_KEEPALIVE, 1},
		{IPPROTO_TCP, TCP_KEEPIDLE, THIN_NBD_RECONNECT_MS / 3000},
		{IPPROTO_TCP, TCP_KEEPINTVL, THIN_NBD_RECONNECT_MS / 6000},
		{IPPROTO_TCP, TCP_KEEPCNT, 4},
		{IPPROTO_TCP, TCP_USER_TIMEOUT, THIN_NBD_RECONNECT_MS},
	};

	for (size_t i = 0; i < sizeof(options) / sizeof(options[0]); i++)
		(void)setsockopt(fd, options[i].level, options[i].name, &options[i].value,
				 sizeof(int));
}

static int negotiate(struct nbd_handle *nbd, const char *uri, uint64_t deadline_ns,
		     struct thin_error *e)
{
	int r = nbd_aio_connect_uri(nbd, uri) ? -EIO : 0;

	while (!r && nbd_aio_is_connecting(nbd) > 0)
		r = thin_nbd_poll(nbd, -1, deadline_ns);
	if (r == -ETIMEDOUT)
		return thin_error_set(e, -EIO, "no answer");
	if (r || nbd_aio_is_ready(nbd) <= 0)
		return thin_error_set(e, -EIO, "%s", nbd_get_error());
	notice_dead_peers(nbd_aio_get_fd(nbd));
	return 0;
}

int thin_nbd_handshake(const char *uri, uint64_t deadline_ns, struct nbd_handle **ret,
		       struct thin_nbd_export *ret_export, struct thin_error *e)
{
	struct nbd_handle *nbd = nbd_create();
	int r;

	if (!nbd)
		return thin_error_set(e, -ENOMEM, "%s", nbd_get_error());
	/* A key of TLS is a file that the URI names; of reads see nbd_chunks.c. */
	if (nbd_set_uri_allow_local_file(nbd, true) || nbd_set_full_info(nbd, true) ||
	    nbd_set_pread_initialize(nbd, false) ||
	    nbd_add_meta_context(nbd, LIBNBD_CONTEXT_BASE_ALLOCATION))
		r = thin_error_set(e, -ENOMEM, "%s", nbd_get_error());
	else
		r = negotiate(nbd, uri, deadline_ns, e);
	if (!r)
		r = describe(nbd, ret_export, e);
	if (r) {
		nbd_close(nbd);
		return r;
	}
	*ret = nbd;
	return 0;
}
