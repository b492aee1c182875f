/* SPDX-License-Identifier: BSD-3-Clause */
#include "pool/pool_internal.h"

#include "util/checked.h"
#include "util/limits.h"

#include <assert.h>
#include <errno.h>

/*
 * Devices in use, and the volumes that are open on them.
 *
 *  V1  There is at most one core for a device, so all who write to it pass
 *      the same gate and the same range lock.
 *  V2  A core stays while it is pinned.  Whoever does more than one step on
 *      a device pins it first, so that it is not deleted in between.
 *  V3  While a device is claimed, for deletion, nobody else can pin it.  Who was
 *      there before is waited for: pins are short, and so are opens that their
 *      owner has begun to close.
 *  V4  Opens may differ in size (a volume that was resized while clients
 *      were connected), but not in their origin.  Where the volume ends is
 *      decided by the largest.
 *  V5  The origin is open for as long as its core has a reference.  That goes
 *      with no lock held: it may close another volume, whose origin goes then.
 */

static struct thin_core **bucket(struct thin_pool *pool, uint32_t device)
	THIN_REQUIRES(pool->volumes_lock)
{
	return &pool->volumes[device % THIN_CORE_BUCKETS];
}

static struct thin_core *find(struct thin_pool *pool, uint32_t device)
	THIN_REQUIRES(pool->volumes_lock)
{
	struct thin_core *core = *bucket(pool, device);

	while (core && core->device != device)
		core = core->next;
	return core;
}

/* aligned_alloc(): the gate's counters have cache lines of their own. */
static int create(struct thin_pool *pool, uint32_t device, struct thin_core **ret)
	THIN_REQUIRES(pool->volumes_lock)
{
	struct thin_core *core = aligned_alloc(_Alignof(struct thin_core), sizeof(*core));
	int r;

	if (!core)
		return -ENOMEM;
	*core = (struct thin_core){.pool = pool, .device = device};
	r = thin_device_open(pool->m, device, &core->d);
	if (r) {
		free(core);
		return r;
	}
	thin_gate_init(&core->gate);
	thin_gate_init(&core->below);
	thin_range_lock_init(&core->ranges);
	core->guarantee = thin_guarantee_find(pool, device);
	core->next = *bucket(pool, device);
	*bucket(pool, device) = core;
	*ret = core;
	return 0;
}

static void destroy(struct thin_pool *pool, struct thin_core *core)
	THIN_REQUIRES(pool->volumes_lock)
{
	struct thin_core **at = bucket(pool, core->device);

	while (*at != core)
		at = &(*at)->next;
	*at = core->next;
	assert(!atomic_load(&core->origin)); /* close_locked() */
	if (core->d)
		thin_device_close(core->d);
	thin_range_lock_fini(&core->ranges);
	thin_gate_fini(&core->below);
	thin_gate_fini(&core->gate);
	free(core);
}

static int pin_locked(struct thin_pool *pool, uint32_t device, struct thin_core **ret)
	THIN_REQUIRES(pool->volumes_lock)
{
	struct thin_core *core = find(pool, device);
	int r;

	if (core && core->deleting)
		return -EBUSY;
	if (!core) {
		r = create(pool, device, &core);
		if (r)
			return r;
	}
	core->pins++;
	*ret = core;
	return 0;
}

static void unpin_locked(struct thin_pool *pool, struct thin_core *core)
	THIN_REQUIRES(pool->volumes_lock)
{
	assert(core->pins > 0);
	if (--core->pins == 0)
		destroy(pool, core);
	thin_cond_broadcast(&pool->volumes_changed);
}

struct thin_core *thin_core_pin_again(struct thin_core *core)
{
	assert(core->pins > 0);
	core->pins++;
	return core;
}

int thin_core_pin(struct thin_pool *pool, uint32_t device, struct thin_core **ret)
{
	int r;

	thin_mutex_lock(&pool->volumes_lock);
	r = pin_locked(pool, device, ret);
	thin_mutex_unlock(&pool->volumes_lock);
	return r;
}

void thin_core_unpin(struct thin_core *core)
{
	struct thin_pool *pool;

	if (!core)
		return;
	pool = core->pool;
	thin_mutex_lock(&pool->volumes_lock);
	unpin_locked(pool, core);
	thin_mutex_unlock(&pool->volumes_lock);
}

int thin_core_claim(struct thin_pool *pool, uint32_t device, bool patient,
		    struct thin_core **ret)
{
	struct thin_core *core;
	int r;

	thin_mutex_lock(&pool->volumes_lock);
	core = find(pool, device);
	r = core && core->opens && !patient ? -EBUSY : pin_locked(pool, device, &core);
	if (!r) {
		core->deleting = true;
		while (core->pins > 1)
			thin_cond_wait(&pool->volumes_changed, &pool->volumes_lock);
		*ret = core;
	}
	thin_mutex_unlock(&pool->volumes_lock);
	return r;
}

/* Volumes without an origin, which never get one, do not pay for the gate. */
struct thin_origin *thin_core_origin_enter(struct thin_core *core)
{
	struct thin_origin *o = atomic_load(&core->origin);

	if (!o)
		return NULL;
	thin_gate_enter(&core->below);
	o = atomic_load(&core->origin);
	if (!o)
		thin_gate_leave(&core->below);
	return o;
}

uint64_t thin_core_origin_end(struct thin_core *core, const struct thin_origin *o)
{
	uint64_t end = atomic_load(&core->origin_end);

	if (!o)
		return 0;
	return end ? thin_min(end, thin_origin_size(o)) : thin_origin_size(o);
}

void thin_core_origin_leave(struct thin_core *core, struct thin_origin *o)
{
	if (o)
		thin_gate_leave(&core->below);
}

/* --- opens ------------------------------------------------------------------ */

/*
 * V4.  The gate is shut, so that no trim is just looking at the end; but only
 * where there is need, since that waits for all requests in flight.
 */
static void grow_core(struct thin_core *core, uint64_t size)
{
	if (atomic_load(&core->size) >= size)
		return;
	thin_gate_shut(&core->gate);
	if (atomic_load(&core->size) < size)
		atomic_store(&core->size, size);
	thin_gate_open(&core->gate);
}

static bool is_less(struct thin_core *core, uint64_t end)
{
	uint64_t now = atomic_load(&core->origin_end);

	return end && (!now || end < now);
}

/*
 * Who came before a volume was shrunk still knows the old end.  With the gate shut
 * where there is need: afterwards nobody fills a block from behind the new one.
 */
void thin_core_limit_origin(struct thin_core *core, uint64_t end)
{
	if (!is_less(core, end))
		return;
	thin_gate_shut(&core->gate);
	thin_mutex_lock(&core->pool->volumes_lock);
	if (core->opens && is_less(core, end))
		atomic_store(&core->origin_end, end);
	thin_mutex_unlock(&core->pool->volumes_lock);
	thin_gate_open(&core->gate);
}

/* The first open says what the origin is. */
static int agree_on_origin(struct thin_pool *pool, struct thin_core *core,
			   struct thin_origin *origin) THIN_REQUIRES(pool->volumes_lock)
{
	(void)pool;
	if (core->opens)
		return atomic_load(&core->origin) == origin ? 0 : -EINVAL;
	if (origin)
		atomic_store(&core->origin, thin_origin_ref(origin));
	return 0;
}

static int open_core(struct thin_pool *pool, const struct thin_volume_params *params,
		     struct thin_core **ret)
{
	struct thin_core *core;
	int r;

	thin_mutex_lock(&pool->volumes_lock);
	r = pin_locked(pool, params->device, &core);
	if (!r) {
		r = agree_on_origin(pool, core, params->origin);
		if (r)
			unpin_locked(pool, core);
	}
	if (!r) {
		core->opens++;
		pool->clients++;
		*ret = core;
	}
	thin_mutex_unlock(&pool->volumes_lock);
	return r;
}

int thin_volume_open(struct thin_pool *pool, const struct thin_volume_params *params,
		     struct thin_volume **ret)
{
	struct thin_volume *v;
	int r = 0;

	if (!params->size || params->size > THIN_MAX_VOLUME_SIZE)
		return -EINVAL;
	if (params->origin && atomic_load(&pool->started))
		r = thin_origin_start(params->origin);
	if (r)
		return r;
	v = calloc(1, sizeof(*v));
	if (!v)
		return -ENOMEM;
	r = open_core(pool, params, &v->core);
	if (r) {
		free(v);
		return r;
	}
	v->size = params->size;
	v->read_only = params->read_only;
	thin_core_limit_origin(v->core, params->origin_end);
	grow_core(v->core, v->size);
	*ret = v;
	return 0;
}

/*
 * The last close forgets size and origin, even where a pin keeps the core:
 * the next open may bring others.  Nobody else looks at the origin then.
 * Returns the origin to be let go, or NULL (V5).
 */
static struct thin_origin *close_locked(struct thin_pool *pool, struct thin_core *core)
	THIN_REQUIRES(pool->volumes_lock)
{
	struct thin_origin *o = NULL;

	pool->clients--;
	if (--core->opens == 0) {
		o = atomic_exchange(&core->origin, NULL);
		atomic_store(&core->origin_end, 0);
		atomic_store(&core->size, 0);
	}
	unpin_locked(pool, core);
	return o;
}

void thin_volume_close(struct thin_volume *v)
{
	struct thin_origin *o;
	struct thin_pool *pool;

	if (!v)
		return;
	pool = v->core->pool;
	thin_mutex_lock(&pool->volumes_lock);
	o = close_locked(pool, v->core);
	thin_mutex_unlock(&pool->volumes_lock);
	thin_origin_unref(o);
	free(v);
}

bool thin_pool_is_open(struct thin_pool *pool, uint32_t device)
{
	struct thin_core *core;
	bool open;

	thin_mutex_lock(&pool->volumes_lock);
	core = find(pool, device);
	open = core && core->opens;
	thin_mutex_unlock(&pool->volumes_lock);
	return open;
}

uint64_t thin_volume_size(const struct thin_volume *v)
{
	return v->size;
}

/* --- their origins ------------------------------------------------------------ */

/* The one after @core, or the first one for NULL; in no order. */
static struct thin_core *next_core(struct thin_pool *pool, struct thin_core *core)
	THIN_REQUIRES(pool->volumes_lock)
{
	size_t i = core ? core->device % THIN_CORE_BUCKETS + 1 : 0;

	core = core ? core->next : NULL;
	for (; !core && i < THIN_CORE_BUCKETS; i++)
		core = pool->volumes[i];
	return core;
}

int thin_volumes_start(struct thin_pool *pool)
{
	struct thin_core *core = NULL;
	int r = 0;

	thin_mutex_lock(&pool->volumes_lock);
	while (!r && (core = next_core(pool, core))) {
		struct thin_origin *o = atomic_load(&core->origin);

		if (o)
			r = thin_origin_start(o);
	}
	thin_mutex_unlock(&pool->volumes_lock);
	return r;
}

/* The origin of the first volume with a device id of at least *@device. */
static struct thin_origin *next_origin(struct thin_pool *pool, uint32_t *device)
{
	struct thin_origin *found = NULL;
	uint32_t from = *device;

	thin_mutex_lock(&pool->volumes_lock);
	for (struct thin_core *core = NULL; (core = next_core(pool, core));) {
		struct thin_origin *o = atomic_load(&core->origin);

		if (!o || core->device < from || (found && core->device >= *device))
			continue;
		*device = core->device;
		found = o;
	}
	if (found)
		thin_origin_ref(found);
	thin_mutex_unlock(&pool->volumes_lock);
	return found;
}

void thin_volumes_watch(struct thin_pool *pool)
{
	struct thin_origin *o;

	for (uint32_t device = 0; (o = next_origin(pool, &device)); device++) {
		if (thin_origin_turned(o) && pool->params.event)
			pool->params.event(pool->params.event_ctx,
					   THIN_EVENT_ORIGIN_CHANGED,
					   thin_origin_name(o));
		thin_origin_unref(o);
	}
}
