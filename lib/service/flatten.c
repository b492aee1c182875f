/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Copying is a request like a client's, for blocks that the origin shows; so
 * the volume stays in use, and what was copied need not be noted anywhere:
 * the origin does not show there any more.
 *
 * That it is being done is in the registry first, that the origin is gone
 * last.  A crash in between leaves a volume that is being flattened.
 *
 *  F1  A volume is known by its device, from the first handle on: others may give
 *      it another name meanwhile, and its name to another volume.
 *  F2  While the handle is open the origin stays, unless another one who flattens
 *      the same volume is done before; and while anybody is in the list of
 *      those who do, be the others cancelled, the size does.
 *  F3  Blocks are copied as a whole; past the volume's end, which may be in the
 *      middle of one, there are zeros afterwards: what a longer volume without
 *      an origin would show.  By F2 nobody has anything of his own there yet.
 *      Before they are zeroed the record says that the origin ends with the
 *      volume, and that this is being done, as in a shrink: there is no snapshot
 *      with half of it, which would show some of each when it grows.
 */
#include "service/flatten.h"

#include "service/requests.h"
#include "util/checked.h"

#include <errno.h>
#include <string.h>
#include <time.h>

/* At a time: what a cancellation waits for, and one step of the progress. */
#define STEP (UINT64_C(8) << 20)

#define NAP_NS 50000000

struct thin_flattening {
	struct thin_flattening *next;
	uint32_t device;
};

struct flatten {
	struct thinbd *t;
	const struct thin_flatten_params *p;
	uint32_t device;	   /* THIN_NO_DEVICE: whatever has the name */
	struct thin_flattening me; /* in the list */
	struct thinbd_volume *h;
	const struct thin_volume_conf *conf; /* the handle's */
	uint64_t size;			     /* up to where the origin is shown */
	uint64_t at;			     /* done up to there */
	uint64_t copied;		     /* bytes */
	uint64_t start_ns;
};

static int progress(struct flatten *f)
{
	return f->p->progress ? f->p->progress(f->p->ctx, f->at, f->size) : 0;
}

/* What has to be copied in a part; blocks without data need nothing. */
struct need {
	uint64_t begin, end; /* the first run of it; empty: none */
};

static int note_need(void *ctx, uint64_t offset, uint64_t len, enum thinbd_extent type)
{
	struct need *n = ctx;

	if (type != THINBD_EXTENT_ORIGIN)
		return n->begin < n->end; /* the run is over */
	if (n->begin == n->end)
		n->begin = offset;
	n->end = offset + len;
	return 0;
}

/* Not faster than it was asked for; in short naps, so that it can be ended. */
static int pace(struct flatten *f)
{
	const struct timespec nap = {.tv_nsec = NAP_NS};
	uint64_t due_ns;
	int r = 0;

	if (!f->p->rate)
		return 0;
	due_ns = f->start_ns + (uint64_t)((double)f->copied / (double)f->p->rate * 1e9);
	while (!r && thin_now_ns() < due_ns) {
		(void)nanosleep(&nap, NULL);
		r = progress(f);
	}
	return r;
}

/* [@begin, @end): copy each run that the origin shows. */
static int copy_part(struct flatten *f, uint64_t begin, uint64_t end)
{
	while (begin < end) {
		struct need n = {0};
		int r = thinbd_extents(f->h, begin, end - begin, note_need, &n);
		if (r < 0)
			return r;
		if (n.begin == n.end)
			return 0;
		r = thin_handle_hydrate(f->h, n.begin, n.end - n.begin);
		if (r)
			return r;
		f->copied += n.end - n.begin;
		begin = n.end;
		r = pace(f);
		if (r)
			return r;
	}
	return 0;
}

static int copy_all(struct flatten *f)
{
	for (f->at = 0; f->at < f->size; f->at += STEP) {
		int r = progress(f);
		if (!r)
			r = copy_part(f, f->at, thin_min(f->at + STEP, f->size));
		if (r)
			return r;
	}
	f->at = f->size;
	return progress(f);
}

/* --- who flattens what --------------------------------------------------- */

static void enter_locked(struct flatten *f) THIN_REQUIRES(f->t->lock)
{
	f->me = (struct thin_flattening){.next = f->t->flattening, .device = f->device};
	f->t->flattening = &f->me;
}

static void leave_locked(struct flatten *f) THIN_REQUIRES(f->t->lock)
{
	struct thin_flattening **at = &f->t->flattening;

	while (*at && *at != &f->me)
		at = &(*at)->next;
	if (*at)
		*at = f->me.next;
}

static void leave(struct flatten *f)
{
	thin_mutex_lock(&f->t->lock);
	leave_locked(f);
	thin_mutex_unlock(&f->t->lock);
}

bool thin_is_flattening(struct thinbd *t, uint32_t device)
{
	struct thin_flattening *at = t->flattening;

	while (at && at->device != device)
		at = at->next;
	return at;
}

/* --- the registry -------------------------------------------------------- */

static int drop_origin(struct thin_volume_conf *v)
{
	v->origin_size = v->origin_inode = v->origin_overlap = 0;
	v->origin_mtime_ns = v->origin_ctime_ns = 0;
	int r = thin_string_set(&v->origin, NULL);
	return r ? r : thin_string_set(&v->origin_path, NULL);
}

/* F1.  -ENOENT where it was deleted meanwhile. */
static int find(struct flatten *f, const struct thin_volume_conf **ret,
		struct thin_error *e)
{
	_cleanup_volume_conf const struct thin_volume_conf *v = NULL;
	int r = thin_registry_find_device(f->t->registry, f->device, &v);

	if (r || thin_is_tombstone(v->name))
		return thin_error_set(e, -ENOENT, "%s: was deleted meanwhile",
				      f->p->name);
	*ret = thin_steal(v);
	return 0;
}

static int update_locked(struct flatten *f, const struct thin_volume_conf *v,
			 bool flattening, bool drop, struct thin_error *e)
	THIN_REQUIRES(f->t->lock)
{
	_cleanup_volume_conf struct thin_volume_conf *changed = NULL;
	int r = thin_volume_conf_copy(v, &changed);

	if (!r && drop)
		r = drop_origin(changed);
	if (r)
		return r;
	changed->flattening = flattening;
	struct thin_change change = {.kind = THIN_CHANGE_UPDATE, .volume = changed};
	return thin_registry_change(f->t->registry, &change, 1, e);
}

/* Without an origin there is nothing to do, and nothing being done. */
static int note_locked(struct flatten *f, bool flattening, struct thin_error *e)
	THIN_REQUIRES(f->t->lock)
{
	_cleanup_volume_conf const struct thin_volume_conf *v = NULL;
	int r = find(f, &v, e);

	if (r)
		return r;
	flattening &= v->origin != NULL;
	if (v->flattening == flattening)
		return 0;
	return update_locked(f, v, flattening, false, e);
}

/*
 * @ret_again: it is not as it was when the handle was opened (F2).
 */
static int begin_locked(struct flatten *f, bool *ret_again, struct thin_error *e)
	THIN_REQUIRES(f->t->lock)
{
	_cleanup_volume_conf const struct thin_volume_conf *v = NULL;
	int r = find(f, &v, e);

	if (r)
		return r;
	*ret_again = v->size != f->conf->size || !thin_same_origin(v, f->conf);
	if (*ret_again)
		return 0;
	r = note_locked(f, true, e);
	if (!r)
		enter_locked(f);
	return r;
}

/* By its name of the moment (F1). */
static int open_device(struct flatten *f, bool *ret_again, struct thin_error *e)
{
	_cleanup_volume_conf const struct thin_volume_conf *v = NULL, *now = NULL;
	int r = find(f, &v, e);

	if (r)
		return r;
	r = thin_handle_open(f->t, v->name, THIN_HANDLE_FLATTEN, &f->h, e);
	if (!r)
		*ret_again = thin_handle_conf(f->h)->device != f->device;
	else if (!find(f, &now, NULL))
		*ret_again = strcmp(now->name, v->name) != 0;
	return *ret_again ? 0 : r;
}

static int open_handle(struct flatten *f, bool *ret_again, struct thin_error *e)
{
	return f->device == THIN_NO_DEVICE
		       ? thin_handle_open(f->t, f->p->name, THIN_HANDLE_FLATTEN, &f->h, e)
		       : open_device(f, ret_again, e);
}

static int begin(struct flatten *f, bool *ret_again, struct thin_error *e)
{
	int r = open_handle(f, ret_again, e);

	if (r || *ret_again)
		return r;
	f->conf = thin_handle_conf(f->h);
	f->device = f->conf->device;
	f->size = thin_min(f->conf->size, thin_origin_shows(f->conf));
	thin_mutex_lock(&f->t->lock);
	r = begin_locked(f, ret_again, e);
	thin_mutex_unlock(&f->t->lock);
	return r;
}

/*
 * The registry knows first: after a crash the volume is opened without.
 * @copied: how that ended; where others have dropped the origin it does not count.
 */
static int end_locked(struct flatten *f, int copied, struct thin_dropped *ret,
		      struct thin_error *e) THIN_REQUIRES(f->t->lock)
{
	_cleanup_volume_conf const struct thin_volume_conf *v = NULL;
	int r = find(f, &v, e);

	if (r || !v->origin)
		return r;
	if (copied)
		return copied;
	r = update_locked(f, v, false, true, e);
	if (!r)
		thin_handle_drop_origin(f->h, ret);
	return r;
}

/* @ret_cut: there is still an origin to be hidden. */
static int hide_rest_locked(struct flatten *f, bool *ret_cut, struct thin_error *e)
	THIN_REQUIRES(f->t->lock)
{
	_cleanup_volume_conf const struct thin_volume_conf *v = NULL;
	_cleanup_volume_conf struct thin_volume_conf *cut = NULL;
	int r = find(f, &v, e);

	*ret_cut = !r && v->origin;
	if (!*ret_cut)
		return r;
	r = thin_volume_conf_copy(v, &cut);
	if (r)
		return r;
	cut->origin_overlap = v->size;
	cut->shrinking = true;
	struct thin_change change = {.kind = THIN_CHANGE_UPDATE, .volume = cut};
	return thin_registry_change(f->t->registry, &change, 1, e);
}

/* F3 */
static int hide_rest(struct flatten *f, struct thin_error *e)
{
	bool cut;

	thin_mutex_lock(&f->t->lock);
	int r = hide_rest_locked(f, &cut, e);
	thin_mutex_unlock(&f->t->lock);
	return r || !cut ? r : thin_finish_shrink(f->t, f->device, e);
}

static int end(struct flatten *f, struct thin_error *e)
{
	bool longer = thin_origin_shows(f->conf) > f->conf->size;
	struct thin_dropped dropped = {0};
	int r = longer ? hide_rest(f, e) : 0;

	if (!r)
		r = thinbd_flush(f->h);
	thin_mutex_lock(&f->t->lock);
	r = end_locked(f, r, &dropped, e);
	thin_mutex_unlock(&f->t->lock);
	/* It may be long in answering those who still read it. */
	thin_dropped_let_go(&dropped);
	return r;
}

/* Who cancels it does not want it to go on by itself; unless others are at it. */
static int cancelled(struct flatten *f, struct thin_error *e)
{
	int r = 0;

	thin_mutex_lock(&f->t->lock);
	leave_locked(f);
	if (!thin_is_flattening(f->t, f->device))
		r = note_locked(f, false, e);
	thin_mutex_unlock(&f->t->lock);
	return r ? r
		 : thin_error_set(e, -ECANCELED,
				  "%s: cancelled; `thinbd flatten %s` goes on with it",
				  f->p->name, f->p->name);
}

/* With a handle of its own. */
static int flatten(struct flatten *f, bool *ret_again, struct thin_error *e)
{
	*ret_again = false;
	int r = begin(f, ret_again, e);
	bool copy = !r && !*ret_again && f->conf->origin;

	if (copy)
		r = copy_all(f);
	if (copy && !r)
		r = end(f, e);
	/* Whom the end of the server hangs up on has cancelled nothing. */
	if (r == -ECANCELED && f->h && !atomic_load(&f->t->ending))
		r = cancelled(f, e);
	if (r == -ESHUTDOWN && f->h && thin_handle_revoked(f->h))
		r = thin_error_set(e, -ENOENT, "%s: was deleted meanwhile", f->p->name);
	leave(f);
	thinbd_volume_close(thin_steal(f->h));
	return r;
}

int thin_flatten(struct thinbd *t, const struct thin_flatten_params *p,
		 uint64_t *ret_copied, struct thin_error *e)
{
	_cleanup_volume_conf const struct thin_volume_conf *v = NULL;
	struct flatten f = {
		.t = t, .p = p, .device = p->device, .start_ns = thin_now_ns()};
	bool again = true;
	int r = p->device == THIN_NO_DEVICE ? thin_find(t, p->name, &v, e) : 0;

	while (!r && again)
		r = flatten(&f, &again, e);
	*ret_copied = f.copied;
	return r ? thin_error_default(e, r, "%s: %s", p->name, thin_strerror(r)) : 0;
}
