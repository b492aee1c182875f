/* SPDX-License-Identifier: BSD-3-Clause */
#include "storage/nbd_conn.h"

#include "util/checked.h"

#include <libnbd.h>
#include <string.h>

/*
 * What arrives of a read.
 *
 * A server answers in chunks, of any lengths and in any order.  libnbd sees
 * to it that they are inside the buffer, but not that nothing is left out or
 * sent twice; and what a buffer held before is memory, which no reader may
 * see (I5).
 *
 *   [A1] Of the first "filled" bytes each was sent, or is zero.  A chunk that
 *        begins beyond leaves a gap, which is cleared then: once the whole
 *        buffer is filled there is nothing in it that was there before.
 *   [A2] A read is complete when all is filled and as many bytes were sent
 *        as it has.
 */

void thin_nbd_chunks_begin(struct thin_nbd_request *req)
{
	req->filled = 0;
	req->sent = 0;
}

/* @offset and @len: inside the request. */
int thin_nbd_on_chunk(void *user_data, const void *bytes, size_t len, uint64_t offset,
		      unsigned status, int *error)
{
	struct thin_nbd_request *req = user_data;
	uint64_t begin = offset - req->offset;

	(void)bytes;
	(void)error;
	if (status != LIBNBD_READ_DATA && status != LIBNBD_READ_HOLE)
		return 0;
	if (begin > req->filled)
		memset((uint8_t *)req->buf + req->filled, 0, begin - req->filled);
	req->filled = thin_max(req->filled, begin + len);
	req->sent += len;
	return 0;
}

bool thin_nbd_chunks_complete(const struct thin_nbd_request *req)
{
	return req->filled == req->len && req->sent == req->len;
}
