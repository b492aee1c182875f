/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool/pool_internal.h"

#include <assert.h>

/*
 * Some buffers are kept for the next one who builds a block: getting 64 KiB
 * from the system and giving it back costs more than filling it.  Aligned to
 * a page, so that O_DIRECT needs no copy.
 */

#define BUFFER_ALIGN 4096

void thin_buffers_init(struct thin_buffers *b, size_t len)
{
	assert(len % BUFFER_ALIGN == 0);
	*b = (struct thin_buffers){.len = len};
	thin_mutex_init(&b->lock);
}

void thin_buffers_fini(struct thin_buffers *b)
{
	while (b->nr)
		free(b->free[--b->nr]);
	thin_mutex_fini(&b->lock);
}

void *thin_buffer_get(struct thin_buffers *b)
{
	void *buf = NULL;

	thin_mutex_lock(&b->lock);
	if (b->nr)
		buf = b->free[--b->nr];
	thin_mutex_unlock(&b->lock);
	return buf ? buf : aligned_alloc(BUFFER_ALIGN, b->len);
}

void thin_buffer_put(struct thin_buffers *b, void *buf)
{
	if (!buf)
		return;
	thin_mutex_lock(&b->lock);
	if (b->nr < THIN_BUFFERS_MAX) {
		b->free[b->nr++] = buf;
		buf = NULL;
	}
	thin_mutex_unlock(&b->lock);
	free(buf);
}
