/* SPDX-License-Identifier: BSD-3-Clause */
#include "metadata/transaction.h"

#include <errno.h>
#include <string.h>

int thin_tm_new(struct thin_transaction *tm, enum thin_block_kind kind,
		uint64_t *ret_block, void **ret)
{
	uint64_t block;
	int r;

	r = thin_sm_alloc(tm->sm, &block);
	if (r)
		return r;
	r = thin_block_set_add(&tm->fresh, block);
	if (r)
		return r;
	r = thin_cache_new(tm->cache, block, kind, ret);
	if (r)
		return r;
	*ret_block = block;
	return 0;
}

static int copy_block(struct thin_transaction *tm, uint64_t block,
		      enum thin_block_kind kind, uint64_t *ret_block, void **ret)
{
	void *from, *to;
	uint64_t copy;
	int r;

	r = thin_cache_get(tm->cache, block, kind, &from);
	if (r)
		return r;
	r = thin_tm_new(tm, kind, &copy, &to);
	if (r)
		return r;
	memcpy(to, from, THIN_METADATA_BLOCK);
	*ret_block = copy;
	*ret = to;
	return 0;
}

int thin_tm_shadow(struct thin_transaction *tm, uint64_t block, enum thin_block_kind kind,
		   thin_inc_children_fn *inc_children, void *ctx, uint64_t *ret_block,
		   void **ret)
{
	uint32_t count;
	int r;

	r = thin_sm_count(tm->sm, block, &count);
	if (r)
		return r;
	if (count == 0)
		return -EILSEQ;
	if (count == 1 && thin_block_set_has(&tm->fresh, block)) {
		r = thin_cache_get(tm->cache, block, kind, ret);
		if (r)
			return r;
		thin_cache_mark_dirty(tm->cache, block);
		*ret_block = block;
		return 0;
	}
	r = copy_block(tm, block, kind, ret_block, ret);
	if (r)
		return r;
	r = thin_sm_dec(tm->sm, block);
	if (r || count == 1 || !inc_children)
		return r;
	return inc_children(ctx, *ret);
}

int thin_tm_read(struct thin_transaction *tm, uint64_t block, enum thin_block_kind kind,
		 const void **ret)
{
	void *p;
	int r = thin_cache_get(tm->cache, block, kind, &p);

	if (!r)
		*ret = p;
	return r;
}
