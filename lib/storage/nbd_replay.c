/* SPDX-License-Identifier: BSD-3-Clause */
#include "storage/nbd_conn.h"

#include <assert.h>
#include <errno.h>
#include <libnbd.h>
#include <string.h>

/*
 * What a server must not forget.
 *
 * A server that was lost may have restarted, its machine too, and what it
 * had acknowledged but not flushed is gone.  A later flush would succeed
 * and cover less than S2 says.  So each change is kept from when it was
 * acknowledged until a flush that began later has returned, and is made
 * again when another server answers, before anything else is sent to it.
 *
 *   [R1] Changes are made again in the order in which they were completed:
 *        of two that overlap, where the second was issued after the first
 *        was complete, the second wins again.
 *   [R2] Nobody reads in between: there is one connection only to a server
 *        that is written to.
 */

void thin_nbd_log_init(struct thin_nbd_log *log)
{
	*log = (struct thin_nbd_log){.last_seq = 0};
	STAILQ_INIT(&log->changes);
}

void thin_nbd_log_fini(struct thin_nbd_log *log)
{
	thin_nbd_log_forget(log, UINT64_MAX);
	assert(!log->bytes);
}

struct thin_nbd_change *thin_nbd_change_of(enum thin_nbd_op op, uint64_t offset,
					   uint64_t len, const void *bytes)
{
	uint64_t kept = op == THIN_NBD_WRITE ? len : 0;
	struct thin_nbd_change *c = malloc(sizeof(*c) + kept);

	if (!c)
		return NULL;
	*c = (struct thin_nbd_change){.op = op, .offset = offset, .len = len};
	if (kept)
		memcpy(c->bytes, bytes, kept);
	return c;
}

static uint64_t cost(const struct thin_nbd_change *c)
{
	return sizeof(*c) + (c->op == THIN_NBD_WRITE ? c->len : 0);
}

void thin_nbd_log_add(struct thin_nbd_log *log, struct thin_nbd_change *c)
{
	c->seq = ++log->last_seq;
	log->bytes += cost(c);
	STAILQ_INSERT_TAIL(&log->changes, c, link);
}

void thin_nbd_log_forget(struct thin_nbd_log *log, uint64_t seq)
{
	struct thin_nbd_change *c;

	while ((c = STAILQ_FIRST(&log->changes)) && c->seq <= seq) {
		STAILQ_REMOVE_HEAD(&log->changes, link);
		log->bytes -= cost(c);
		free(c);
	}
}

static int make_again(struct nbd_handle *nbd, const struct thin_nbd_change *c)
{
	switch (c->op) {
	case THIN_NBD_WRITE:
		return nbd_pwrite(nbd, c->bytes, c->len, c->offset, 0);
	case THIN_NBD_ZERO:
		return nbd_zero(nbd, c->len, c->offset, LIBNBD_CMD_FLAG_NO_HOLE);
	default:
		assert(c->op == THIN_NBD_TRIM);
		return nbd_trim(nbd, c->len, c->offset, 0);
	}
}

int thin_nbd_log_replay(const struct thin_nbd_log *log, struct nbd_handle *nbd)
{
	const struct thin_nbd_change *c;

	STAILQ_FOREACH(c, &log->changes, link)
	{
		if (!make_again(nbd, c))
			continue;
		if (nbd_aio_is_ready(nbd) > 0 && nbd_get_errno() != ESHUTDOWN)
			return -EIO;
		return -ENOTCONN;
	}
	return 0;
}
