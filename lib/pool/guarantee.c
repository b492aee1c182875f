/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool/request.h"

#include "util/checked.h"

#include <assert.h>
#include <errno.h>

/*
 * Room that is kept for volumes.
 *
 * A volume with a guarantee may at any time have so many blocks of its own:
 * blocks that it writes in place.  What it lacks of them is kept free, `left`;
 * the sum over all volumes is `kept`, and nobody else is given a block of it.
 *
 *  G1  A request takes blocks only where as many are free as it needs and
 *      others are kept, itself not counted.  Looking and taking are one step,
 *      under `lock`.  So, counting blocks that are freed but wait for a commit,
 *      there are always as many free as are kept.
 *  G2  A block is the volume's own when it is mapped and not shared, by the
 *      times that decide whether it is copied when it is written.  So what a
 *      snapshot shares is not its own any more, every block of it may have to
 *      be copied, and that is what is kept then.  A snapshot for which there
 *      is no room like that is refused.  (When the snapshot is gone the times
 *      stay, and with them what is kept, until blocks are written again.)
 *  G3  From reserving a block to inserting it, it is `pending`: neither kept
 *      nor anybody else's.
 *  G4  What a volume unmaps is kept for it at once, and free after a commit:
 *      one who was promised room waits for that, whatever when_full says
 *      (space.c).
 *
 * `own` is counted once, with the gate shut, and then kept up to date by those
 * who insert and unmap, inside the gate.  An entry is there until the pool is
 * closed; where `blocks` is 0 it stands for nothing, and is not kept up.
 */

struct thin_guarantee {
	struct thin_guarantee *next; /* volumes_lock */
	uint32_t device;

	/* under thin_guarantees.lock */
	uint64_t blocks;
	uint64_t own;
	uint64_t pending;
	uint64_t own_before; /* a snapshot that is being made */
};

static uint64_t left(const struct thin_guarantee *g)
{
	uint64_t has = g->own + g->pending;

	return g->blocks > has ? g->blocks - has : 0;
}

static void set_own(struct thin_guarantees *gs, struct thin_guarantee *g, uint64_t own)
	THIN_REQUIRES(gs->lock)
{
	uint64_t was = left(g);

	g->own = own;
	atomic_fetch_add(&gs->kept, left(g) - was);
}

static void set_pending(struct thin_guarantees *gs, struct thin_guarantee *g,
			uint64_t pending) THIN_REQUIRES(gs->lock)
{
	uint64_t was = left(g);

	g->pending = pending;
	atomic_fetch_add(&gs->kept, left(g) - was);
}

static void change_blocks(struct thin_guarantees *gs, struct thin_guarantee *g,
			  uint64_t blocks) THIN_REQUIRES(gs->lock)
{
	uint64_t was = left(g);

	g->blocks = blocks;
	atomic_fetch_add(&gs->kept, left(g) - was);
}

/* Are there @want blocks besides those that are kept for others than @g? */
static bool is_room(struct thin_pool *pool, struct thin_guarantees *gs,
		    const struct thin_guarantee *g, uint64_t want) THIN_REQUIRES(gs->lock)
{
	uint64_t others = atomic_load(&gs->kept) - (g ? left(g) : 0);
	struct thin_metadata_info info;

	thin_metadata_info(pool->m, &info);
	return info.data_free >= others && info.data_free - others >= want;
}

void thin_guarantees_init(struct thin_guarantees *gs)
{
	*gs = (struct thin_guarantees){0};
	thin_mutex_init(&gs->lock);
}

void thin_guarantees_fini(struct thin_guarantees *gs)
{
	while (gs->list) {
		struct thin_guarantee *g = gs->list;

		gs->list = g->next;
		free(g);
	}
	thin_mutex_fini(&gs->lock);
}

uint64_t thin_guarantees_spare(struct thin_pool *pool,
			       const struct thin_metadata_info *info)
{
	uint64_t kept = atomic_load(&pool->guarantees.kept);

	return info->data_free > kept ? info->data_free - kept : 0;
}

/* --- requests ---------------------------------------------------------------- */

int thin_guarantee_take(struct thin_reservation *res, uint64_t want,
			int (*take)(struct thin_reservation *res, uint64_t want))
{
	struct thin_guarantees *gs = &res->pool->guarantees;
	struct thin_guarantee *g = res->guarantee;
	int r = -ENOSPC;

	thin_mutex_lock(&gs->lock);
	if (is_room(res->pool, gs, g, want))
		r = take(res, want);
	res->promised = r == -ENOSPC && g && want <= left(g);
	if (!r && g) {
		set_pending(gs, g, g->pending + want);
		res->pending = want;
	}
	thin_mutex_unlock(&gs->lock);
	return r;
}

void thin_guarantee_inserted(struct thin_reservation *res, uint64_t nr)
{
	struct thin_guarantees *gs = &res->pool->guarantees;
	struct thin_guarantee *g = res->guarantee;

	if (!g)
		return;
	thin_mutex_lock(&gs->lock);
	assert(res->pending >= nr);
	res->pending -= nr;
	set_own(gs, g, g->own + nr);
	set_pending(gs, g, g->pending - nr);
	thin_mutex_unlock(&gs->lock);
}

void thin_guarantee_returned(struct thin_reservation *res, uint64_t nr)
{
	struct thin_guarantees *gs = &res->pool->guarantees;

	if (!res->pending)
		return;
	thin_mutex_lock(&gs->lock);
	set_pending(gs, res->guarantee, res->guarantee->pending - nr);
	thin_mutex_unlock(&gs->lock);
	res->pending -= nr;
}

static int look(struct thin_core *core, uint64_t begin, uint64_t end,
		struct thin_run *runs, size_t *ret_nr)
{
	return thin_metadata_lookup(core->d, begin, end, runs, THIN_RUNS, ret_nr);
}

/* How many of @runs' blocks below @end are the volume's own. */
static uint64_t count_own(const struct thin_run *runs, size_t nr, uint64_t end)
{
	uint64_t own = 0;

	for (size_t i = 0; i < nr && runs[i].vblock < end; i++)
		if (runs[i].mapped && !runs[i].shared)
			own += thin_min(runs[i].nr, end - runs[i].vblock);
	return own;
}

static int remove_all(struct thin_core *core, uint64_t begin, uint64_t end, uint64_t max)
{
	int r = 0;

	while (begin < end && !r)
		r = thin_metadata_remove_range(core->d, begin, end, max, &begin, NULL);
	return r;
}

/* G1: nobody may have the blocks before they are kept. */
static int remove_and_keep(struct thin_core *core, uint64_t begin, uint64_t end,
			   uint64_t max, uint64_t own)
{
	struct thin_guarantees *gs = &core->pool->guarantees;
	struct thin_guarantee *g = core->guarantee;
	int r;

	thin_mutex_lock(&gs->lock);
	r = remove_all(core, begin, end, max);
	if (!r)
		set_own(gs, g, g->own - thin_min(own, g->own));
	thin_mutex_unlock(&gs->lock);
	return r;
}

int thin_guarantee_unmap(struct thin_core *core, uint64_t begin, uint64_t end,
			 uint64_t max, uint64_t *ret_next)
{
	struct thin_run runs[THIN_RUNS];
	const struct thin_run *last;
	uint64_t to;
	size_t nr;
	int r = look(core, begin, end, runs, &nr);

	if (r)
		return r;
	last = &runs[nr - 1];
	to = last->mapped ? last->vblock + thin_min(last->nr, max)
			  : last->vblock + last->nr;
	r = remove_and_keep(core, begin, to, max, count_own(runs, nr, to));
	if (!r)
		*ret_next = to;
	return r;
}

/* --- snapshots ----------------------------------------------------------------- */

static void share_locked(struct thin_guarantees *gs, struct thin_core **cores, size_t nr,
			 bool undo) THIN_REQUIRES(gs->lock)
{
	for (size_t i = 0; i < nr; i++) {
		struct thin_guarantee *g = cores[i]->guarantee;

		if (!g)
			continue;
		if (!undo)
			g->own_before = g->own;
		set_own(gs, g, undo ? g->own_before : 0);
	}
}

int thin_guarantees_share(struct thin_pool *pool, struct thin_core **cores, size_t nr)
{
	struct thin_guarantees *gs = &pool->guarantees;
	uint64_t before;
	int r = 0;

	thin_mutex_lock(&gs->lock);
	before = atomic_load(&gs->kept);
	share_locked(gs, cores, nr, false);
	if (atomic_load(&gs->kept) > before && !is_room(pool, gs, NULL, 0)) {
		share_locked(gs, cores, nr, true);
		r = -ENOSPC;
	}
	thin_mutex_unlock(&gs->lock);
	return r;
}

void thin_guarantees_unshare(struct thin_pool *pool, struct thin_core **cores, size_t nr)
{
	thin_mutex_lock(&pool->guarantees.lock);
	share_locked(&pool->guarantees, cores, nr, true);
	thin_mutex_unlock(&pool->guarantees.lock);
}

/* --- giving one ------------------------------------------------------------------ */

struct thin_guarantee *thin_guarantee_find(struct thin_pool *pool, uint32_t device)
{
	struct thin_guarantee *g = pool->guarantees.list;

	while (g && g->device != device)
		g = g->next;
	return g;
}

/* The entry of @device, made where there is none and @create; or NULL. */
static struct thin_guarantee *entry(struct thin_pool *pool, uint32_t device, bool create)
{
	struct thin_guarantee *g;

	thin_mutex_lock(&pool->volumes_lock);
	g = thin_guarantee_find(pool, device);
	if (!g && create) {
		g = calloc(1, sizeof(*g));
		if (g) {
			g->device = device;
			g->next = pool->guarantees.list;
			pool->guarantees.list = g;
		}
	}
	thin_mutex_unlock(&pool->volumes_lock);
	return g;
}

static int set_blocks(struct thin_pool *pool, struct thin_guarantee *g, uint64_t blocks,
		      bool check)
{
	struct thin_guarantees *gs = &pool->guarantees;
	uint64_t was, was_left;
	int r = 0;

	thin_mutex_lock(&gs->lock);
	was = g->blocks;
	was_left = left(g);
	change_blocks(gs, g, blocks);
	if (check && left(g) > was_left && !is_room(pool, gs, NULL, 0)) {
		change_blocks(gs, g, was);
		r = -ENOSPC;
	}
	thin_mutex_unlock(&gs->lock);
	return r;
}

static int count_all(struct thin_core *core, uint64_t *ret_own)
{
	struct thin_run runs[THIN_RUNS];
	uint64_t next = 0, own = 0;
	size_t nr;

	while (next < UINT64_MAX) {
		int r = look(core, next, UINT64_MAX, runs, &nr);
		if (r)
			return r;
		own += count_own(runs, nr, UINT64_MAX);
		next = runs[nr - 1].vblock + runs[nr - 1].nr;
	}
	*ret_own = own;
	return 0;
}

/* Count what is there, and have it kept up from here on. */
static int begin_one(struct thin_core *core, struct thin_guarantee *g, uint64_t blocks,
		     bool check)
{
	uint64_t own;
	int r;

	thin_gate_shut(&core->gate);
	r = count_all(core, &own);
	if (!r) {
		g->own = own;
		r = set_blocks(core->pool, g, blocks, check);
	}
	if (!r)
		core->guarantee = g;
	thin_gate_open(&core->gate);
	return r;
}

/* A device that is not there yet has nothing. */
static int begin(struct thin_pool *pool, struct thin_guarantee *g, uint64_t blocks,
		 bool check)
{
	struct thin_core *core;
	int r = thin_core_pin(pool, g->device, &core);

	if (r == -ENOENT) {
		g->own = 0;
		return set_blocks(pool, g, blocks, check);
	}
	if (r)
		return r;
	r = begin_one(core, g, blocks, check);
	thin_core_unpin(core);
	return r;
}

static int set(struct thin_pool *pool, uint32_t device, uint64_t blocks, bool check)
{
	struct thin_guarantee *g = entry(pool, device, blocks != 0);

	if (!g)
		return blocks ? -ENOMEM : 0;
	if (g->blocks)
		return set_blocks(pool, g, blocks, check);
	return blocks ? begin(pool, g, blocks, check) : 0;
}

int thin_pool_set_reserve(struct thin_pool *pool, uint32_t device, uint64_t bytes,
			  bool check)
{
	uint64_t blocks = thin_div_up(bytes, pool->block_size);
	int r = set(pool, device, blocks, check);

	/* What was freed can be had after a commit. */
	if (r == -ENOSPC) {
		r = thin_space_settle(pool);
		if (!r)
			r = set(pool, device, blocks, check);
	}
	if (!r)
		thin_space_returned(pool); /* it may be less than it was */
	return r;
}

uint64_t thin_pool_reserve_left(struct thin_pool *pool, uint32_t device)
{
	struct thin_guarantee *g = entry(pool, device, false);
	uint64_t blocks = 0;

	if (!g)
		return 0;
	thin_mutex_lock(&pool->guarantees.lock);
	blocks = left(g);
	thin_mutex_unlock(&pool->guarantees.lock);
	return blocks;
}
