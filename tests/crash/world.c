/* SPDX-License-Identifier: BSD-3-Clause */
#include "world.h"

#include "util/checked.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int __attribute__((format(printf, 2, 3)))
fail(struct world *w, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(w->failure, sizeof(w->failure), fmt, args);
	va_end(args);
	return -EINVAL;
}

/* --- bases -------------------------------------------------------------------- */

void base_init(struct base *b, const char *name)
{
	*b = (struct base){.next_value = STAMP_FIRST};
	snprintf(b->name, sizeof(b->name), "%s", name);
	for (unsigned f = 0; f < REC_FILES; f++)
		disk_init(&b->disk[f], 0);
	model_init(&b->model);
}

void base_fini(struct base *b)
{
	for (unsigned f = 0; f < REC_FILES; f++)
		disk_fini(&b->disk[f]);
	model_fini(&b->model);
}

void base_format(struct base *b, uint64_t metadata_blocks, uint64_t data_blocks)
{
	disk_set_size(&b->disk[REC_METADATA], metadata_blocks * THIN_METADATA_BLOCK);
	disk_set_size(&b->disk[REC_DATA], data_blocks * WORLD_BLOCK * THIN_SECTOR);
	for (uint64_t s = 0; s < data_blocks * WORLD_BLOCK; s++)
		stamp_fill(b->disk[REC_DATA].bytes + s * THIN_SECTOR, STAMP_CANARY, s);
	if (thin_metadata_format(&b->disk[REC_METADATA].base, WORLD_BLOCK, data_blocks,
				 NULL))
		abort();
}

void base_of_image(struct base *b, const struct base *from, const struct image *img,
		   const struct model *found)
{
	base_init(b, from->name);
	for (unsigned f = 0; f < REC_FILES; f++)
		disk_copy(&b->disk[f], &img->disk[f]);
	model_copy(&b->model, found);
	/* What was written before, by whomever, is not what is written from now on. */
	b->next_value = from->next_value + (UINT32_C(1) << 20);
	b->origin = from->origin;
}

struct thin_storage *world_origin(void)
{
	static struct disk origin;

	if (origin.size)
		return &origin.base;
	disk_init(&origin, WORLD_ORIGIN * THIN_SECTOR);
	for (uint64_t s = 0; s < WORLD_ORIGIN; s++)
		stamp_fill(origin.bytes + s * THIN_SECTOR, STAMP_ORIGIN, s);
	return &origin.base;
}

/* --- opening and closing --------------------------------------------------------- */

static int open_pool(struct world *w)
{
	struct thin_pool_params params = {
		.metadata = rec_lend(w->rec, REC_METADATA, w->top[REC_METADATA]),
		.data = rec_lend(w->rec, REC_DATA, w->top[REC_DATA]),
	};
	struct thin_error e = {""};
	int r = thin_pool_open(&params, &w->pool, &e);

	if (r)
		w->pool = NULL;
	return r && !w->faults ? fail(w, "open: %.400s", e.text) : r;
}

static void close_volume(struct world *w, uint32_t volume)
{
	thin_volume_close(thin_steal(w->volume[volume]));
}

static int close_pool(struct world *w)
{
	int r;

	if (!w->pool)
		return 0;
	for (uint32_t i = 0; i < MODEL_VOLUMES; i++)
		close_volume(w, i);
	r = thin_pool_close(thin_steal(w->pool));
	return r && !w->faults ? fail(w, "close: %s", thin_strerror(r)) : r;
}

void world_prepare(struct world *w, const struct base *base)
{
	*w = (struct world){.base = base, .next_value = base->next_value};
	for (unsigned f = 0; f < REC_FILES; f++) {
		disk_init(&w->under[f], 0);
		disk_copy(&w->under[f], &base->disk[f]);
		w->top[f] = &w->under[f].base;
	}
	model_copy(&w->model, &base->model);
	w->rec = rec_new(REC_KEEP);
	for (unsigned f = 0; f < REC_FILES; f++)
		rec_look_below(w->rec, f, &w->under[f].base);
	w->mon = monitor_new(w->rec, MONITOR_STRICT);
}

int world_start(struct world *w)
{
	return open_pool(w);
}

int world_open(struct world *w, const struct base *base)
{
	world_prepare(w, base);
	return world_start(w);
}

void world_crash(struct world *w)
{
	rec_stop(w->rec);
	w->faults = true;
	(void)close_pool(w); /* whatever it says, it is gone */
}

void world_close(struct world *w)
{
	world_crash(w);
	monitor_free(w->mon);
	rec_free(w->rec);
	model_fini(&w->model);
	for (unsigned f = 0; f < REC_FILES; f++)
		disk_fini(&w->under[f]);
}

/* --- marks -------------------------------------------------------------------------- */

static uint64_t mark(struct world *w, struct rec_mark m)
{
	uint64_t stamp = rec_mark(w->rec, &m);

	if (stamp) /* else nobody has heard it */
		model_apply(&w->model, &m, stamp);
	return stamp;
}

static int check_result(struct world *w, const struct op *op, int r)
{
	w->refusals += r == -ENOSPC;
	if (!r || r == -ENOSPC || w->faults || rec_killed(w->rec))
		return 0;
	return fail(w, "%s: %s", op_describe(op), thin_strerror(r));
}

/* The volume, opened where need be; NULL where there is none. */
static struct thin_volume *volume_of(struct world *w, uint32_t volume)
{
	struct model_volume *mv = &w->model.volume[volume];
	struct thin_origin *origin = NULL;
	struct thin_volume_params params = {.device = volume,
					    .size = mv->nr_sectors * THIN_SECTOR};

	if (mv->exists == MODEL_NO || !w->pool || w->volume[volume])
		return w->volume[volume];
	if (mv->origin_sectors)
		params.origin = origin = verify_origin(world_origin());
	if (thin_volume_open(w->pool, &params, &w->volume[volume])) {
		w->volume[volume] = NULL;
		if (!w->faults)
			fail(w, "volume %u can not be opened", volume);
	}
	thin_origin_unref(origin);
	return w->volume[volume];
}

static void own(const struct op *op)
{
	struct rec_owner owner = {
		.known = true,
		.device = op->volume,
		.begin = op->first * THIN_SECTOR,
		.end = (op->first + op->nr) * THIN_SECTOR,
	};

	rec_own(&owner);
}

/* --- reads and writes ------------------------------------------------------------------
 */

/* What @op does to its sectors, as a mark; whole blocks only, for a trim. */
static struct rec_mark update_of(struct world *w, const struct op *op)
{
	uint64_t first = op->first, end = op->first + op->nr;
	uint32_t value = w->next_value;

	switch (op->kind) {
	case 'w':
	case 'W':
		w->next_value++;
		break;
	case 't':
	case 'T':
		value = MODEL_BELOW;
		first = thin_div_up(first, WORLD_BLOCK) * WORLD_BLOCK;
		end = thin_max(first, end / WORLD_BLOCK * WORLD_BLOCK);
		break;
	default:
		value = STAMP_ZERO;
	}
	return (struct rec_mark){.kind = MARK_UPDATE,
				 .request = ++w->next_request,
				 .volume = op->volume,
				 .first = first,
				 .nr = end - first,
				 .value = value};
}

static int write_stamps(struct thin_volume *v, const struct op *op, uint32_t value)
{
	_cleanup_free uint8_t *buf = must_alloc(op->nr, THIN_SECTOR);

	for (uint64_t s = 0; s < op->nr; s++)
		stamp_fill(buf + s * THIN_SECTOR, value, op->first + s);
	return thin_volume_write(v, buf, op->first * THIN_SECTOR, op->nr * THIN_SECTOR,
				 op->kind == 'W' ? THIN_FUA : 0);
}

static int request(struct thin_volume *v, const struct op *op, uint32_t value)
{
	uint64_t offset = op->first * THIN_SECTOR, len = op->nr * THIN_SECTOR;

	switch (op->kind) {
	case 'w':
	case 'W':
		return write_stamps(v, op, value);
	case 't':
	case 'T':
		return thin_volume_trim(v, offset, len, op->kind == 'T' ? THIN_FUA : 0);
	default:
		return thin_volume_zero(v, offset, len,
					op->kind == 'Z' ? THIN_MAY_UNMAP : 0);
	}
}

/* Where it was written before counts no more. */
static void forget(struct world *w, const struct op *op)
{
	monitor_forget(w->mon, op->volume, op->first * THIN_SECTOR,
		       (op->first + op->nr) * THIN_SECTOR);
}

static void tell_monitor(struct world *w, const struct op *op, int r)
{
	if (rec_killed(w->rec))
		return;
	if (r || strchr("tTzZ", op->kind))
		forget(w, op);
	else if (op->kind == 'W')
		monitor_flushed(w->mon, op->volume, rec_now(w->rec),
				op->first * THIN_SECTOR,
				(op->first + op->nr) * THIN_SECTOR);
}

static int do_update(struct world *w, const struct op *op)
{
	struct thin_volume *v = volume_of(w, op->volume);
	struct rec_mark m;
	int r;

	if (!v || op->first + op->nr > w->model.volume[op->volume].nr_sectors || !op->nr)
		return 0;
	m = update_of(w, op);
	mark(w, m);
	forget(w, op);
	own(op);
	r = request(v, op, m.value);
	rec_own(NULL);
	m.kind = op->kind == 'W' || op->kind == 'T' ? MARK_FUA : MARK_UPDATED;
	m.result = r;
	mark(w, m);
	tell_monitor(w, op, r);
	return check_result(w, op, r);
}

static int do_flush(struct world *w, const struct op *op)
{
	struct thin_volume *v = volume_of(w, op->volume);
	struct rec_mark m = {
		.kind = MARK_FLUSH, .request = ++w->next_request, .volume = op->volume};
	uint64_t issued;

	if (!v)
		return 0;
	issued = mark(w, m);
	m.kind = MARK_FLUSHED;
	m.result = thin_volume_flush(v);
	mark(w, m);
	if (!m.result && !rec_killed(w->rec))
		monitor_flushed(w->mon, op->volume, issued, 0, UINT64_MAX);
	return check_result(w, op, m.result);
}

/* --- control
 * ------------------------------------------------------------------------------ */

static bool is_there(const struct world *w, uint32_t volume)
{
	return w->model.volume[volume].exists == MODEL_YES;
}

/* Between two marks; *@ret is what the call says. */
static int control(struct world *w, const struct op *op, struct rec_mark m,
		   enum model_mark done,
		   int (*call)(struct world *w, const struct op *op))
{
	mark(w, m);
	m.kind = done;
	m.result = call(w, op);
	if (w->faults && m.result && m.result != -ENOSPC && m.result != -ENOBUFS)
		return 0; /* perhaps it was done all the same */
	mark(w, m);
	return check_result(w, op, m.result == -ENOBUFS ? -ENOSPC : m.result);
}

static int call_create(struct world *w, const struct op *op)
{
	return thin_pool_create_thin(w->pool, op->volume);
}

static int call_snapshot(struct world *w, const struct op *op)
{
	struct thin_snap_pair pair = {.origin = op->volume, .snap = op->other};

	return thin_pool_snapshot(w->pool, &pair, 1);
}

static int call_delete(struct world *w, const struct op *op)
{
	return thin_pool_delete(w->pool, &op->volume, 1);
}

static int do_create(struct world *w, const struct op *op)
{
	struct rec_mark m = {.kind = MARK_CREATE,
			     .volume = op->volume,
			     .first = w->base->origin ? WORLD_ORIGIN : 0,
			     .nr = WORLD_VOLUME};

	if (w->model.volume[op->volume].exists != MODEL_NO)
		return 0;
	return control(w, op, m, MARK_CREATED, call_create);
}

static int do_snapshot(struct world *w, const struct op *op)
{
	struct rec_mark m = {.kind = MARK_SNAP, .volume = op->other, .other = op->volume};

	if (!is_there(w, op->volume) || w->model.volume[op->other].exists != MODEL_NO)
		return 0;
	return control(w, op, m, MARK_SNAPPED, call_snapshot);
}

static int do_delete(struct world *w, const struct op *op)
{
	struct rec_mark m = {.kind = MARK_DELETE, .volume = op->volume};

	if (!is_there(w, op->volume))
		return 0;
	close_volume(w, op->volume);
	monitor_forget(w->mon, op->volume, 0, UINT64_MAX);
	return control(w, op, m, MARK_DELETED, call_delete);
}

static int do_enlarge(struct world *w, const struct op *op)
{
	struct rec_mark m = {.kind = MARK_RESIZE, .volume = op->volume};

	m.nr = w->model.volume[op->volume].nr_sectors + WORLD_BLOCK;
	if (!is_there(w, op->volume) || m.nr > 2 * WORLD_VOLUME)
		return 0;
	close_volume(w, op->volume);
	mark(w, m);
	return 0;
}

static int do_grow(struct world *w, const struct op *op)
{
	struct thin_pool_status st;
	uint64_t data = 0, metadata = 0;
	int r;

	thin_pool_status(w->pool, &st);
	if (op->kind == 'g')
		data = (st.metadata.nr_data_blocks + op->nr) * WORLD_BLOCK * THIN_SECTOR;
	else
		metadata =
			(st.metadata.nr_metadata_blocks + op->nr) * THIN_METADATA_BLOCK;
	if (data > 4 * WORLD_DATA * WORLD_BLOCK * THIN_SECTOR ||
	    metadata > 4 * WORLD_METADATA * THIN_METADATA_BLOCK)
		return 0;
	r = thin_pool_grow(w->pool, data, metadata);
	return check_result(w, op, r == -ENOBUFS ? -ENOSPC : r);
}

static int do_hold(struct world *w, const struct op *op)
{
	int r = op->kind == 'h' ? thin_pool_hold(w->pool) : thin_pool_unhold(w->pool);

	if (r == (op->kind == 'h' ? -EBUSY : -EINVAL))
		return 0;
	return check_result(w, op, r == -ENOBUFS ? -ENOSPC : r);
}

/* Which volumes are there now, whatever was under way. */
static void find_volumes(struct world *w)
{
	struct thin_device_info info;

	for (uint32_t i = 0; i < MODEL_VOLUMES && w->pool; i++) {
		struct rec_mark m = {.kind = MARK_FOUND, .volume = i};

		if (w->model.volume[i].exists == MODEL_NO)
			continue;
		m.result = thin_pool_next_device(w->pool, i, &info);
		if (!m.result && info.id != i)
			m.result = -ENOENT;
		if (!m.result || m.result == -ENOENT)
			mark(w, m);
	}
}

/* A new process, after the old one was killed or its pool has failed. */
static int restart(struct world *w)
{
	int r;

	mark(w, (struct rec_mark){.kind = MARK_RESTART});
	for (uint32_t i = 0; i < MODEL_VOLUMES; i++)
		monitor_forget(w->mon, i, 0, UINT64_MAX);
	r = open_pool(w);
	find_volumes(w);
	return w->faults ? 0 : r;
}

static int bury(struct world *w)
{
	bool faults = w->faults;

	w->faults = true;
	(void)close_pool(w); /* it is dead: nobody hears what it says */
	w->faults = faults;
	rec_revive(w->rec);
	w->deaths++;
	return restart(w);
}

static int do_reopen(struct world *w)
{
	int r = close_pool(w);

	if (rec_killed(w->rec))
		return 0;
	if (r) {
		monitor_restart(w->mon);
		return restart(w);
	}
	r = open_pool(w);
	return w->faults ? 0 : r;
}

/* --- all of them
 * ----------------------------------------------------------------------------- */

static int do_it(struct world *w, const struct op *op)
{
	switch (op->kind) {
	case 'f':
		return do_flush(w, op);
	case 'k':
		return check_result(w, op, thin_pool_commit(w->pool));
	case 'c':
		return do_create(w, op);
	case 's':
		return do_snapshot(w, op);
	case 'd':
		return do_delete(w, op);
	case 'b':
		return do_enlarge(w, op);
	case 'g':
	case 'm':
		return do_grow(w, op);
	case 'h':
	case 'u':
		return do_hold(w, op);
	case 'o':
		return do_reopen(w);
	case 'x':
		rec_kill(w->rec, op->nr);
		return 0;
	case 0:
		return 0;
	default:
		return do_update(w, op);
	}
}

/*
 * Where something failed reads may fail, too, and the pool may have gone back
 * to its last commit; but what is read must be the volume's own.
 */
static int check_tolerantly(struct world *w, struct thin_volume *v, uint32_t i)
{
	uint8_t unused[THIN_SECTOR];
	char why[300];

	if (thin_volume_read(v, unused, 0, sizeof(unused)))
		return 0;
	if (!verify_volume(v, i, &w->model, model_may, NULL, why, sizeof(why)) ||
	    strstr(why, "can not be read"))
		return 0;
	return fail(w, "%s", why);
}

static int check_volume(struct world *w, uint32_t i)
{
	struct thin_volume *v = volume_of(w, i);
	char why[300];

	if (!v)
		return w->failure[0] ? -EINVAL : 0;
	if (w->faults)
		return check_tolerantly(w, v, i);
	if (verify_volume(v, i, &w->model, model_now, NULL, why, sizeof(why)))
		return fail(w, "%s", why);
	return 0;
}

int world_check(struct world *w)
{
	int r = 0;

	for (uint32_t i = 0; i < MODEL_VOLUMES && !r; i++)
		if (is_there(w, i))
			r = check_volume(w, i);
	return r;
}

int world_do(struct world *w, const struct op *op)
{
	int r = rec_killed(w->rec) ? bury(w) : 0;

	if (!r && w->pool)
		r = do_it(w, op);
	if (rec_killed(w->rec))
		return 0;
	if (!r && w->failure[0])
		r = -EINVAL;
	if (!r && monitor_verdict(w->mon)[0])
		r = fail(w, "monitor: %s", monitor_verdict(w->mon));
	if (!r && !w->faults)
		r = world_check(w);
	return r;
}

int world_to_base(struct world *w, struct base *ret)
{
	struct base b;
	int r = close_pool(w);

	if (r)
		return r;
	base_init(&b, w->base->name);
	for (unsigned f = 0; f < REC_FILES; f++)
		disk_copy(&b.disk[f], &w->under[f]);
	model_copy(&b.model, &w->model);
	for (uint32_t i = 0; i < MODEL_VOLUMES; i++)
		for (uint64_t s = 0; is_there(w, i) && s < b.model.volume[i].nr_sectors;
		     s++) {
			struct model_sector *sector = &b.model.volume[i].sectors[s];

			model_set(&b.model, i, s, sector->updates[sector->nr - 1].value);
		}
	b.next_value = w->next_value;
	b.origin = w->base->origin;
	*ret = b;
	return 0;
}
