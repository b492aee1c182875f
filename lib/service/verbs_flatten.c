/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * flatten: copy what a volume still shows of its origin into the pool, then
 * drop the origin.
 *
 * The volume stays in use: copying is a request like a client's.  That it is
 * being done is in the registry first, and that the origin is gone last; in
 * between it may be cancelled, and goes on from where it was when it is asked
 * for again, since what was copied is no longer shown by the origin.
 */
#include "service/requests.h"

#include "util/checked.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

/* At a time: what a cancellation waits for, and one step of the progress. */
#define STEP (UINT64_C(8) << 20)

struct flatten {
	struct thin_call *c;
	struct thinbd_volume *h;
	uint64_t size;	 /* up to where the origin is shown */
	uint64_t at;	 /* done up to there */
	uint64_t copied; /* bytes */
	uint64_t rate;	 /* bytes a second; 0: as fast as it goes */
	uint64_t start_ns;
};

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
	if (!f->rate)
		return 0;
	uint64_t due_ns =
		f->start_ns + (uint64_t)((double)f->copied / (double)f->rate * 1e9);
	while (thin_now_ns() < due_ns) {
		struct timespec nap = {.tv_nsec = 50000000};
		(void)nanosleep(&nap, NULL);
		int r = thin_progress(f->c, f->at, f->size);
		if (r)
			return r;
	}
	return 0;
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
	f->start_ns = thin_now_ns();
	for (; f->at < f->size; f->at += STEP) {
		int r = thin_progress(f->c, f->at, f->size);
		if (!r)
			r = copy_part(f, f->at, thin_min(f->at + STEP, f->size));
		if (r)
			return r;
	}
	return thin_progress(f->c, f->size, f->size);
}

/* --- the registry -------------------------------------------------------- */

static int update_locked(struct thinbd *t, const char *name, bool flattening, bool drop,
			 struct thin_error *e) THIN_REQUIRES(t->lock)
{
	_cleanup_volume_conf const struct thin_volume_conf *v = NULL;
	_cleanup_volume_conf struct thin_volume_conf *changed = NULL;
	int r = thin_find(t, name, &v, e);

	if (!r)
		r = thin_volume_conf_copy(v, &changed);
	if (r)
		return r;
	changed->flattening = flattening;
	if (drop) {
		r = thin_string_set(&changed->origin, NULL);
		if (!r)
			r = thin_string_set(&changed->origin_path, NULL);
		if (r)
			return r;
		changed->origin_size = changed->origin_inode = 0;
		changed->origin_mtime_ns = changed->origin_ctime_ns = 0;
	}
	struct thin_change change = {.kind = THIN_CHANGE_UPDATE, .volume = changed};
	return thin_registry_change(t->registry, &change, 1, e);
}

static int begin(struct flatten *f, const char *name,
		 struct thin_error *e) THIN_NO_THREAD_SAFETY
{
	_cleanup_volume_conf const struct thin_volume_conf *v = NULL;
	struct thinbd *t = f->c->t;

	thin_mutex_lock(&t->lock);
	int r = thin_find(t, name, &v, e);
	if (!r && v->origin)
		r = update_locked(t, name, true, false, e);
	thin_mutex_unlock(&t->lock);
	if (r || !v->origin)
		return r;
	f->size = thin_min(v->size, v->origin_size);
	return thin_handle_open(t, name, THIN_HANDLE_FLATTEN, &f->h, e);
}

/* The registry knows first: after a crash the volume is opened without. */
static int end(struct flatten *f, const char *name, struct thin_error *e)
{
	struct thinbd *t = f->c->t;
	int r = thinbd_flush(f->h);

	if (r)
		return r;
	thin_mutex_lock(&t->lock);
	r = update_locked(t, name, false, true, e);
	if (!r)
		thin_handle_drop_origin(f->h);
	thin_mutex_unlock(&t->lock);
	return r;
}

static struct json_object *flatten_json(const struct flatten *f, const char *name)
{
	struct json_object *o = json_object_new_object();

	thin_json_add(o, "name", thin_json_string(name));
	thin_json_add(o, "copied_bytes", thin_json_number(f->copied));
	thin_json_add(o, "done", json_object_new_boolean(true));
	return o;
}

int thin_do_flatten(struct thin_call *c, struct json_object **ret, struct thin_error *e)
{
	const char *name = thin_arg_text(c->args, "name");
	struct thin_error why = {0};
	struct flatten f = {.c = c};
	int r = thin_arg_size(c->args, "rate", &f.rate, &why);

	if (r)
		return thin_error_set(e, r, "%s: %s", name, why.text);
	r = begin(&f, name, e);
	if (!r && f.h) {
		r = copy_all(&f);
		if (!r)
			r = end(&f, name, e);
		thinbd_volume_close(f.h);
	}
	if (r == -ECANCELED)
		return thin_error_set(
			e, r, "%s: cancelled; `thinbd flatten %s` goes on with it", name,
			name);
	if (r)
		return thin_error_default(e, r, "%s: %s", name, thin_strerror(r));
	*ret = flatten_json(&f, name);
	return 0;
}
