/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool/request.h"

#include "util/checked.h"
#include "util/limits.h"

#include <errno.h>

/*
 * Deleting devices.
 *
 * All of them are claimed before any is touched: so they exist, nobody has
 * them open (any more), and nobody will.  Then each is emptied in steps, each of which
 * holds the metadata for a moment only; and when what is left is no more than
 * one step, which a snapshot that has changed little is from the beginning,
 * the device is deleted.
 *
 * A commit now and then keeps the transaction, and what it needs of the
 * metadata, small; and gives the first blocks back while the last ones are
 * still being unmapped.  A crash in between leaves smaller devices; who
 * asked for the deletion asks again (the registry's tombstone, I12).
 *
 * In the background (thin_pool_delete_slowly()) the steps are smaller, and
 * after each the locks are left alone for longer than it took: who writes
 * meanwhile waits, once in a while, for as long as a few lookups take.  There
 * the periodic commit makes most of it durable, since each commit flushes
 * what others have written.  But as soon as more has been unmapped than is
 * free, it is committed, and where somebody waits for room nobody pauses.
 */

/* Mappings between commits: a few tens of milliseconds of work. */
#define COMMIT_AFTER	    (UINT64_C(64) * THIN_UNMAP_STEP)
#define COMMIT_SLOWLY_AFTER (16 * COMMIT_AFTER)

/* Leaves that are read ahead: not more than the smallest cache can hold. */
#define WARM_LEAVES 128

/* How much longer than the step the pause is, and its limits. */
#define PAUSE_FACTOR 3
#define PAUSE_MIN_NS UINT64_C(50000)
#define PAUSE_MAX_NS UINT64_C(5000000)

struct emptying {
	struct thin_core *core;
	int (*go_on)(void *ctx); /* NULL: as fast as it goes */
	void *ctx;
	uint64_t next;	  /* the vblock to go on from */
	uint64_t warm;	  /* up to there the leaves were read */
	uint64_t pending; /* mappings that went since the last commit */
};

static uint64_t step_size(const struct emptying *x)
{
	return x->go_on ? THIN_UNMAP_STEP / 4 : THIN_UNMAP_STEP;
}

static bool commit_is_due(const struct emptying *x)
{
	struct thin_metadata_info info;

	if (x->pending >= (x->go_on ? COMMIT_SLOWLY_AFTER : COMMIT_AFTER))
		return true;
	thin_metadata_info(x->core->pool->m, &info);
	return !info.metadata_free ||
	       (x->pending >= THIN_UNMAP_STEP && x->pending > info.data_free);
}

static int commit_between(struct emptying *x)
{
	if (!commit_is_due(x))
		return 0;
	x->pending = 0;
	return thin_commit_now(x->core->pool);
}

static void leave_alone(struct thin_pool *pool, uint64_t took_ns)
{
	uint64_t ns =
		thin_min(thin_max(PAUSE_FACTOR * took_ns, PAUSE_MIN_NS), PAUSE_MAX_NS);
	struct timespec pause = {.tv_nsec = (long)ns};

	if (thin_pool_mode(pool) == THIN_MODE_WRITE)
		(void)nanosleep(&pause, NULL); /* shorter is as good */
}

static int remove_some(struct emptying *x)
{
	uint64_t removed = 0, start;
	int r = 0;

	if (x->next >= x->warm)
		r = thin_metadata_warm(x->core->d, x->next, WARM_LEAVES, &x->warm);
	if (r)
		return r;
	start = thin_now_ns();
	r = thin_metadata_remove_range(x->core->d, x->next, UINT64_MAX, step_size(x),
				       &x->next, &removed);
	x->pending += removed;
	if (!r && x->go_on) {
		leave_alone(x->core->pool, thin_now_ns() - start);
		r = x->go_on(x->ctx);
	}
	return r;
}

/* Until what is left is one step's work. */
static int empty_mostly(struct emptying *x)
{
	uint64_t work;
	int r;

	x->next = x->warm = 0;
	while (!(r = thin_metadata_delete_work(x->core->d, step_size(x), &work))) {
		if (work <= step_size(x)) {
			x->pending += work;
			return 0;
		}
		r = remove_some(x);
		if (!r)
			r = commit_between(x);
		if (r)
			return r;
	}
	return r;
}

static int delete_one(struct emptying *x)
{
	struct thin_core *core = x->core;
	int r = thin_pool_may_change(core->pool);

	if (!r)
		r = empty_mostly(x);
	if (r)
		return r;
	thin_device_close(thin_steal(core->d));
	return thin_metadata_delete(core->pool->m, core->device);
}

static int claim_all(struct thin_pool *pool, const uint32_t *devices, size_t nr,
		     bool patient, struct thin_core **cores)
{
	for (size_t i = 0; i < nr; i++) {
		int r = thin_core_claim(pool, devices[i], patient, &cores[i]);
		if (r)
			return r;
	}
	return 0;
}

static int delete_all(struct thin_core **cores, size_t nr, int (*go_on)(void *ctx),
		      void *ctx)
{
	struct emptying x = {.go_on = go_on, .ctx = ctx};
	int r = 0;

	for (size_t i = 0; i < nr && !r; i++) {
		x.core = cores[i];
		r = delete_one(&x);
		if (!r)
			r = commit_between(&x);
	}
	return r;
}

static int delete (struct thin_pool *pool, const uint32_t *devices, size_t nr,
		   bool patient, int (*go_on)(void *ctx), void *ctx)
{
	_cleanup_free struct thin_core **cores = calloc(nr, sizeof(struct thin_core *));
	int r = thin_pool_may_change(pool);

	if (r || !nr)
		return r;
	if (!cores)
		return -ENOMEM;
	r = claim_all(pool, devices, nr, patient, cores);
	if (!r)
		r = delete_all(cores, nr, go_on, ctx);
	for (size_t i = 0; i < nr; i++)
		thin_core_unpin(cores[i]);
	if (!r)
		r = thin_commit_change(pool);
	return r ? thin_commit_error(pool, r) : 0;
}

int thin_pool_delete_slowly(struct thin_pool *pool, const uint32_t *devices, size_t nr,
			    int (*go_on)(void *ctx), void *ctx)
{
	return delete (pool, devices, nr, true, go_on, ctx);
}

int thin_pool_delete(struct thin_pool *pool, const uint32_t *devices, size_t nr)
{
	return delete (pool, devices, nr, false, NULL, NULL);
}

int thin_pool_delete_work(struct thin_pool *pool, uint32_t device, uint64_t max,
			  uint64_t *ret)
{
	struct thin_core *core;
	int r = thin_core_pin(pool, device, &core);

	if (r)
		return r;
	r = thin_metadata_delete_work(core->d, max, ret);
	thin_core_unpin(core);
	return r;
}
