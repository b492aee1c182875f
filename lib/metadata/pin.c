/* SPDX-License-Identifier: BSD-3-Clause */
#include "metadata/metadata_internal.h"

#include <errno.h>
#include <string.h>

/*
 * The last commit, kept readable while others follow.
 *
 * What a commit leads to is not written to before a later one freed it and
 * that was released (I1, I3).  While it is pinned, metadata blocks that come
 * to be released are set aside instead.  Data blocks are not: nobody reads
 * data by a pinned commit.
 *
 * Nobody who needs room waits for one who reads: when more is set aside than
 * is left free the pin breaks, and the reader, who asks in the end, throws
 * away what he has.
 */

int thin_metadata_pin(struct thin_metadata *m, void *ret_superblock)
{
	int r = 0;

	thin_mutex_lock(&m->commit_lock);
	thin_sharded_write(&m->tree_lock);
	if (m->dead)
		r = -ESHUTDOWN;
	else if (m->pinned)
		r = -EBUSY;
	if (!r) {
		m->pinned = true;
		m->pin_broken = false;
		memset(ret_superblock, 0, THIN_METADATA_BLOCK);
		memcpy(ret_superblock, &m->sb, sizeof(m->sb));
	}
	thin_sharded_write_end(&m->tree_lock);
	thin_mutex_unlock(&m->commit_lock);
	if (!r)
		thin_block_seal(THIN_SUPERBLOCK, ret_superblock, 0);
	return r;
}

static void give_back(struct thin_metadata *m) THIN_REQUIRES(m->tree_lock)
{
	if (m->sm_metadata)
		thin_block_set_subtract(
			&thin_sm_metadata_quarantine(m->sm_metadata)->unavailable,
			&m->set_aside);
	thin_block_set_clear(&m->set_aside);
}

void thin_pin_break(struct thin_metadata *m)
{
	if (!m->pinned)
		return;
	m->pin_broken = true;
	give_back(m);
}

bool thin_pin_set_aside(struct thin_metadata *m, const struct thin_block_set *freed)
{
	if (!m->pinned || m->pin_broken)
		return false;
	if (thin_block_set_union(&m->set_aside, freed) ||
	    m->set_aside.nr > thin_sm_metadata_nr_free(m->sm_metadata)) {
		thin_pin_break(m);
		return false;
	}
	return true;
}

bool thin_metadata_unpin(struct thin_metadata *m)
{
	bool whole;

	thin_sharded_write(&m->tree_lock);
	whole = !m->pin_broken;
	give_back(m);
	m->pinned = false;
	thin_sharded_write_end(&m->tree_lock);
	return whole;
}
