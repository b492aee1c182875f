/* SPDX-License-Identifier: BSD-3-Clause */
#include "metadata/metadata_internal.h"

#include <errno.h>
#include <stdlib.h>

/*
 * What a device has for itself: the blocks that deleting it would free.
 *
 * They are counted leaf by leaf, each under the shared lock for a moment only,
 * and what is shared as a whole subtree is passed over: what is below a node
 * that others refer to as well would survive a delete.  So a count is not
 * exact while others make changes.
 *
 * Who asks, asks of thousands of devices, and again.  So what was found is
 * remembered, for as long as it is true:
 *
 *  U1  A device is OWN when nothing that it has was shared.  It stays so until
 *      a snapshot of it is made, whatever is written to it or to others: what
 *      is new has one reference, and only by a snapshot do others get hold of
 *      what it has.  It has what it has mapped.
 *  U2  Any other count holds until m->sharing moves: with each snapshot, and
 *      each change of a device that is not OWN, since that may let go of what
 *      others have.
 *  U3  A held metadata snapshot has a share in all that there was: while there
 *      is one nothing is believed, and what was counted then ends with it, by
 *      m->sharing.  U1 holds on below it.
 *  U4  After an abort nothing is known.
 */

#define PER_PAGE 256
#define UNKNOWN	 UINT64_C(0)
#define OWN	 UINT64_MAX

struct thin_usage {
	uint64_t blocks;
	uint64_t as_of; /* m->sharing when they were counted; UNKNOWN; OWN */
};

/* --- what is remembered --------------------------------------------------------- */

static struct thin_usage *find(const struct thin_metadata *m, uint32_t id)
{
	uint32_t page = id / PER_PAGE;

	if (page >= m->nr_usages || !m->usages[page])
		return NULL;
	return &m->usages[page][id % PER_PAGE];
}

static bool is_own(const struct thin_metadata *m, uint32_t id)
{
	const struct thin_usage *u = find(m, id);

	return u && u->as_of == OWN;
}

static struct thin_usage *find_or_add(struct thin_metadata *m, uint32_t id)
{
	uint32_t page = id / PER_PAGE;

	if (page >= m->nr_usages) {
		size_t nr = page + m->nr_usages / 2 + 1;
		struct thin_usage **grown = reallocarray(m->usages, nr, sizeof(*grown));

		if (!grown)
			return NULL;
		memset(grown + m->nr_usages, 0, (nr - m->nr_usages) * sizeof(*grown));
		m->usages = grown;
		m->nr_usages = nr;
	}
	if (!m->usages[page])
		m->usages[page] = calloc(PER_PAGE, sizeof(**m->usages));
	return find(m, id);
}

/* Without memory for it, it is counted again. */
static void remember(struct thin_metadata *m, uint32_t id, struct thin_usage what)
{
	struct thin_usage *u = what.as_of == UNKNOWN ? find(m, id) : find_or_add(m, id);

	if (u)
		*u = what;
}

void thin_usage_created(struct thin_metadata *m, uint32_t id)
{
	remember(m, id, (struct thin_usage){.as_of = OWN});
}

void thin_usage_shared(struct thin_metadata *m, uint32_t origin, uint32_t snapshot)
{
	m->snapshots++;
	m->sharing++;
	remember(m, origin, (struct thin_usage){.as_of = UNKNOWN});
	remember(m, snapshot, (struct thin_usage){.as_of = UNKNOWN});
}

void thin_usage_changes(struct thin_metadata *m, uint32_t id)
{
	m->sharing += !is_own(m, id);
}

void thin_usage_forget(struct thin_metadata *m)
{
	for (size_t i = 0; i < m->nr_usages; i++)
		free(m->usages[i]);
	free(m->usages);
	m->usages = NULL;
	m->nr_usages = 0;
	m->snapshots++;
	m->sharing++;
}

/* --- counting --------------------------------------------------------------------- */

struct count {
	uint32_t id;
	struct thin_device_info info;
	uint64_t key;		     /* from where to go on */
	uint64_t nr;		     /* exclusive ones up to there */
	bool shares;		     /* something up to there has other owners */
	bool done;		     /* it is all there is to know */
	bool known;		     /* and need not be remembered */
	uint64_t snapshots, sharing; /* m's when it began */
};

/* Is there no need to count?  Where nothing is mapped nothing is exclusive. */
static bool recall(const struct thin_metadata *m, struct count *c)
{
	const struct thin_usage *u = m->held_root ? NULL : find(m, c->id);

	if (!c->info.mapped_blocks)
		c->nr = 0;
	else if (u && u->as_of == OWN)
		c->nr = c->info.mapped_blocks;
	else if (u && u->as_of == m->sharing)
		c->nr = u->blocks;
	else
		return false;
	return true;
}

static int look_known(struct thin_metadata *m, struct thin_reader *rd, void *ctx)
{
	struct count *c = ctx;
	int r = thin_device_look(m, rd, c->id, &c->info);

	if (r)
		return r;
	c->known = c->done = recall(m, c);
	c->snapshots = m->snapshots;
	c->sharing = m->sharing;
	return 0;
}

/*
 * The way to the device's root, where a held metadata snapshot may share, and
 * so all that the device has.
 */
static int look_root(struct thin_metadata *m, struct thin_reader *rd, uint32_t id,
		     uint64_t *ret_root, bool *ret_shared)
{
	struct thin_leaf top;
	int shared, r;

	r = thin_btree_seek(rd, THIN_VALUE_BLOCK, m->top_root, id, &top);
	if (r == -ENODATA || (!r && thin_node_key(top.node, top.index) != id))
		return -ENOENT;
	if (!r)
		r = thin_find_shared(m, &top, &shared);
	if (r)
		return r;
	*ret_root = thin_node_value64(top.node, top.index);
	*ret_shared = shared >= 0;
	return 0;
}

static int count_single(struct thin_metadata *m, struct thin_reader *rd,
			const struct thin_leaf *leaf, uint32_t *ret)
{
	struct thin_bitmap_view view = {0};
	uint32_t nr = 0;

	for (uint32_t i = leaf->index; i < thin_node_nr(leaf->node); i++) {
		uint64_t v = thin_node_value64(leaf->node, i);
		bool single;
		int r = thin_sm_disk_is_single(m->sm_data, rd, &view,
					       thin_mapping_unpack(v).data_block,
					       &single);

		if (r)
			return r;
		nr += single;
	}
	*ret = nr;
	return 0;
}

/* One leaf, or one shared part of the tree. */
static int look_part(struct thin_metadata *m, struct thin_reader *rd, uint64_t root,
		     struct count *c)
{
	struct thin_leaf leaf;
	uint32_t nr = 0;
	int shared;
	int r = thin_btree_seek(rd, THIN_VALUE_BLOCK, root, c->key, &leaf);

	if (r == -ENODATA) {
		c->done = true;
		return 0;
	}
	if (!r)
		r = thin_find_shared(m, &leaf, &shared);
	if (!r && shared < 0)
		r = count_single(m, rd, &leaf, &nr);
	if (r)
		return r;
	c->nr += nr;
	c->shares |= nr != thin_node_nr(leaf.node) - leaf.index;
	c->key = shared < 0 ? leaf.end : leaf.path_end[shared];
	c->done = c->key == 0;
	return 0;
}

static int look_on(struct thin_metadata *m, struct thin_reader *rd, void *ctx)
{
	struct count *c = ctx;
	uint64_t root;
	bool shared;
	int r = look_root(m, rd, c->id, &root, &shared);

	if (r)
		return r;
	if (!shared)
		return look_part(m, rd, root, c);
	c->shares = c->done = true;
	return 0;
}

/*
 * U1 lets the device itself be written while it is counted: what a leaf had
 * for itself when it was looked at it still has, unless there was a snapshot.
 */
static void keep(struct thin_metadata *m, const struct count *c)
{
	thin_sharded_write(&m->tree_lock);
	if (!c->shares && m->snapshots == c->snapshots)
		remember(m, c->id, (struct thin_usage){.as_of = OWN});
	else if (m->sharing == c->sharing)
		remember(m, c->id, (struct thin_usage){c->nr, c->sharing});
	thin_sharded_write_end(&m->tree_lock);
}

int thin_metadata_usage(struct thin_metadata *m, uint32_t device,
			struct thin_device_info *ret_info, uint64_t *ret_exclusive)
{
	struct count c = {.id = device};
	int r = thin_look(m, look_known, &c);

	while (!r && !c.done)
		r = thin_look(m, look_on, &c);
	if (r)
		return r;
	if (!c.known)
		keep(m, &c);
	*ret_info = c.info;
	*ret_exclusive = c.nr;
	return 0;
}
