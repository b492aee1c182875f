/* SPDX-License-Identifier: BSD-3-Clause */
/* What changes a volume as a whole: resize, rollback. */
#include "service/flatten.h"
#include "service/requests.h"
#include "service/reserves.h"

#include "util/checked.h"

#include <errno.h>
#include <string.h>
#include <time.h>

/* May @v get another content or size? */
static int check_changeable(struct thinbd *t, const struct thin_volume_conf *v,
			    struct thin_error *e) THIN_REQUIRES(t->lock)
{
	int r = thin_check_no_origin(t, v->name, e);

	if (r)
		return r;
	if (v->readonly)
		return thin_error_set(
			e, -EROFS,
			"%s: is read-only; `thinbd set %s readonly=false` first", v->name,
			v->name);
	if (v->flattening || thin_is_flattening(t, v->device))
		return thin_error_set(
			e, -EBUSY,
			"%s: is being flattened; `thinbd flatten %s` goes on with "
			"it",
			v->name, v->name);
	return 0;
}

/* --- resize -------------------------------------------------------------- */

/* Is anything mapped from the block on in which @bytes lies? */
static int any_mapped(struct thinbd *t, const struct thin_volume_conf *v, uint64_t bytes,
		      bool *ret)
{
	uint64_t next = bytes / t->block_size;
	struct thin_run runs[16];

	*ret = false;
	while (next < UINT64_MAX && !*ret) {
		size_t nr;
		int r = thin_pool_lookup(t->pool, v->device, next, UINT64_MAX, runs, 16,
					 &nr);
		if (r)
			return r;
		for (size_t i = 0; i < nr; i++) {
			*ret |= runs[i].mapped;
			next = runs[i].vblock + runs[i].nr;
		}
	}
	return 0;
}

static int check_shrink(struct thin_call *c, const struct thin_volume_conf *v,
			uint64_t size, struct thin_error *e)
{
	bool mapped = false;
	int r = thin_check_unused(c->t, v, e);

	if (!r && !thin_arg_flag(c->args, "force"))
		r = any_mapped(c->t, v, size, &mapped);
	if (r || !mapped)
		return r;
	return thin_error_set(
		e, -EBUSY,
		"%s: there is data past %llu bytes, which would go; --force to let "
		"it go",
		v->name, (unsigned long long)size);
}

/*
 * A shrink has a record first (the new size, and that it is being done), then
 * blocks are freed, without a lock: that may take its time.  Nobody sees what is
 * past the new end meanwhile, since clients who connect get the new size; what a
 * crash or an error leaves is cut when the pool is opened, or before the next
 * resize, so that a volume never grows over what it had.
 */
struct thin_shrink {
	struct thin_shrink *next;
	uint32_t device;
};

static bool is_shrinking(struct thinbd *t, uint32_t device) THIN_REQUIRES(t->lock)
{
	struct thin_shrink *s = t->shrinks;

	while (s && s->device != device)
		s = s->next;
	return s != NULL;
}

static int shrink(struct thinbd *t, uint32_t device, struct thin_error *e)
	THIN_REQUIRES(t->lock)
{
	struct thin_shrink mine = {.next = t->shrinks, .device = device};
	struct thin_shrink **at = &t->shrinks;
	int r;

	t->shrinks = &mine;
	thin_mutex_unlock(&t->lock);
	r = thin_finish_shrink(t, device, e);
	thin_mutex_lock(&t->lock);
	while (*at != &mine)
		at = &(*at)->next;
	*at = mine.next;
	return r;
}

/* The record of @v with another size. */
static int resized(const struct thin_volume_conf *v, uint64_t size,
		   struct thin_volume_conf **ret)
{
	_cleanup_volume_conf struct thin_volume_conf *n = NULL;
	int r = thin_volume_conf_copy(v, &n);

	if (r)
		return r;
	n->size = size;
	n->reserve = thin_min(n->reserve, size);
	n->shrinking = size < v->size;
	if (n->shrinking && thin_origin_shows(v) > size)
		n->origin_overlap = size;
	*ret = thin_steal(n);
	return 0;
}

static int change_size(struct thinbd *t, const struct thin_volume_conf *v, uint64_t size,
		       struct thin_error *e) THIN_REQUIRES(t->lock)
{
	_cleanup_volume_conf struct thin_volume_conf *changed = NULL;
	int r = resized(v, size, &changed);

	if (r)
		return r;
	struct thin_change change = {.kind = THIN_CHANGE_UPDATE, .volume = changed};
	r = thin_registry_change(t->registry, &change, 1, e);
	if (!r && changed->reserve != v->reserve)
		thin_reserve_restore(t, changed);
	return r;
}

static int resize(struct thin_call *c, const struct thin_volume_conf *v, uint64_t size,
		  struct thin_error *e) THIN_REQUIRES(c->t->lock)
{
	int r = check_changeable(c->t, v, e);

	if (!r && size < v->size)
		r = check_shrink(c, v, size, e);
	if (!r)
		r = change_size(c->t, v, size, e);
	return r || size > v->size ? r : shrink(c->t, v->device, e);
}

static int resize_locked(struct thin_call *c, const char *name, uint64_t size,
			 struct thin_error *e) THIN_REQUIRES(c->t->lock)
{
	_cleanup_volume_conf const struct thin_volume_conf *v = NULL, *cut = NULL;
	int r = thin_find(c->t, name, &v, e);

	if (!r && is_shrinking(c->t, v->device))
		r = thin_error_set(e, -EBUSY, "%s: is being shrunk", name);
	if (!r && v->shrinking)
		r = shrink(c->t, v->device, e);
	if (!r)
		r = thin_find(c->t, name, &cut, e);
	return r || size == cut->size ? r : resize(c, cut, size, e);
}

int thin_do_resize(struct thin_call *c, struct json_object **ret, struct thin_error *e)
{
	const char *name = thin_arg_text(c->args, "name");
	struct thin_error why = {0};
	uint64_t size;
	int r = thin_arg_size(c->args, "size", &size, &why);

	if (r)
		return thin_error_set(e, r, "%s: %s", name, why.text);
	thin_mutex_lock(&c->t->lock);
	r = resize_locked(c, name, size, e);
	thin_mutex_unlock(&c->t->lock);
	if (r)
		return thin_error_default(e, r, "%s: %s", name, thin_strerror(r));
	*ret = thin_named_json(c->t, name);
	return 0;
}

/* --- rollback ------------------------------------------------------------ */

/* The first of its ancestors; @ret is free()d by the caller. */
static int root_of(struct thinbd *t, const struct thin_volume_conf *v, char **ret)
{
	char *name = strdup(v->name);
	const char *parent = v->parent;
	const struct thin_volume_conf *up = NULL;

	while (name && parent) {
		const struct thin_volume_conf *next;
		free(name);
		name = strdup(parent);
		if (thin_registry_find(t->registry, parent, &next, NULL))
			break;
		thin_volume_conf_put(up);
		up = next;
		parent = up->parent;
	}
	thin_volume_conf_put(up);
	*ret = name;
	return name ? 0 : -ENOMEM;
}

static int check_related(struct thinbd *t, const struct thin_volume_conf *v,
			 const struct thin_volume_conf *snapshot, struct thin_error *e)
{
	_cleanup_free char *a = NULL, *b = NULL;
	int r = root_of(t, v, &a);

	if (!r)
		r = root_of(t, snapshot, &b);
	if (!r && (!strcmp(v->name, snapshot->name) || strcmp(a, b) != 0))
		r = thin_error_set(e, -EINVAL, "%s: %s is not a snapshot of it", v->name,
				   snapshot->name);
	return r;
}

/* @v's record with what makes up the content of @snapshot. */
static int rolled_back(const struct thin_volume_conf *v,
		       const struct thin_volume_conf *snapshot, uint32_t device,
		       struct thin_volume_conf **ret)
{
	_cleanup_volume_conf struct thin_volume_conf *n = NULL;
	int r = thin_volume_conf_copy(v, &n);

	if (!r)
		r = thin_string_set(&n->origin, snapshot->origin);
	if (!r)
		r = thin_string_set(&n->origin_path, snapshot->origin_path);
	if (r)
		return r;
	n->origin_size = snapshot->origin_size;
	n->origin_overlap = snapshot->origin_overlap;
	n->origin_inode = snapshot->origin_inode;
	n->origin_mtime_ns = snapshot->origin_mtime_ns;
	n->origin_ctime_ns = snapshot->origin_ctime_ns;
	n->size = snapshot->size;
	n->device = device;
	n->shrinking = false;
	n->reserve = thin_min(n->reserve, n->size);
	*ret = thin_steal(n);
	return 0;
}

/* A new device with the snapshot's content takes the place of the old one. */
static int exchange(struct thinbd *t, const struct thin_volume_conf *v,
		    const struct thin_volume_conf *snapshot, struct thin_error *e)
{
	_cleanup_volume_conf struct thin_volume_conf *changed = NULL;
	char born[THIN_BORN_MAX];
	uint32_t device;
	int r = thin_free_device(t, 0, &device, e);

	if (!r)
		r = rolled_back(v, snapshot, device, &changed);
	if (r)
		return r;
	struct thin_change change = {
		.kind = THIN_CHANGE_UPDATE,
		.volume = changed,
		.bury = true,
		.born = thin_device_born(t, v->device, born),
	};
	r = thin_reserve_move(t, v, changed, e);
	if (r)
		return r;
	r = thin_registry_begin(t->registry, &change, 1, e);
	if (!r) {
		struct thin_snap_pair pair = {.origin = snapshot->device, .snap = device};

		r = thin_settle(t, thin_pool_snapshot(t->pool, &pair, 1), v->name, e);
	}
	if (r && v->reserve) {
		thin_reserve_drop(t, changed);
		thin_reserve_restore(t, v);
	}
	return r;
}

/* Of a volume that is not yet short, more may show when the new one grows. */
static int check_not_shrinking(struct thinbd *t, const struct thin_volume_conf *v,
			       struct thin_error *e) THIN_REQUIRES(t->lock)
{
	if (!v->shrinking && !is_shrinking(t, v->device))
		return 0;
	return thin_error_set(e, -EBUSY, "%s: is being shrunk", v->name);
}

static int rollback_locked(struct thin_call *c, uint32_t *ret_device,
			   struct thin_error *e) THIN_REQUIRES(c->t->lock)
{
	_cleanup_volume_conf const struct thin_volume_conf *v = NULL, *snapshot = NULL;
	int r = thin_find(c->t, thin_arg_text(c->args, "name"), &v, e);

	if (!r)
		r = thin_find(c->t, thin_arg_text(c->args, "snapshot"), &snapshot, e);
	if (!r)
		r = check_changeable(c->t, v, e);
	if (!r)
		r = check_related(c->t, v, snapshot, e);
	if (!r)
		r = check_not_shrinking(c->t, v, e);
	if (!r)
		r = check_not_shrinking(c->t, snapshot, e);
	if (!r)
		r = thin_check_unused(c->t, v, e);
	if (!r)
		r = exchange(c->t, v, snapshot, e);
	if (!r)
		*ret_device = v->device;
	return r;
}

int thin_do_rollback(struct thin_call *c, struct json_object **ret, struct thin_error *e)
{
	uint32_t device;

	thin_mutex_lock(&c->t->lock);
	int r = rollback_locked(c, &device, e);
	thin_mutex_unlock(&c->t->lock);
	if (!r)
		r = thin_bury_soon(c->t, &device, 1, e);
	if (r)
		return r;
	*ret = thin_named_json(c->t, thin_arg_text(c->args, "name"));
	return 0;
}
