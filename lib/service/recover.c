/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Work that takes many transactions, and goes on where it was interrupted:
 * freeing the blocks of volumes that were deleted, and those past the end of
 * volumes that were shrunk.  The registry says first that it is to be done,
 * and last that it is.
 */
#include "service/service.h"

#include "util/checked.h"

#include <errno.h>

/* --- tombstones ---------------------------------------------------------- */

static int device_there(struct thinbd *t, uint32_t device, bool *ret)
{
	struct thin_device_info info;
	int r = thin_pool_next_device(t->pool, device, &info);

	if (r && r != -ENOENT)
		return r;
	*ret = !r && info.id == device;
	return 0;
}

/* The tombstones of @devices go; the devices themselves are gone already. */
static int drop_tombstones(struct thinbd *t, const uint32_t *devices, size_t nr,
			   struct thin_error *e)
{
	_cleanup_free struct thin_change *changes = calloc(nr, sizeof(*changes));
	_cleanup_volume_list struct thin_volume_list list = {
		.at = calloc(nr, sizeof(*list.at)),
	};

	if (!changes || !list.at)
		return -ENOMEM;
	for (size_t i = 0; i < nr; i++) {
		_cleanup_volume_conf const struct thin_volume_conf *v = NULL;
		if (thin_registry_find_device(t->registry, devices[i], &v) ||
		    !thin_is_tombstone(v->name))
			continue;
		changes[list.nr] = (struct thin_change){
			.kind = THIN_CHANGE_DELETE,
			.name = v->name,
		};
		list.at[list.nr++] = thin_steal(v);
	}
	return list.nr ? thin_registry_change(t->registry, changes, list.nr, e) : 0;
}

/* Free the blocks of those that have a device still. */
static int delete_devices(struct thinbd *t, const uint32_t *devices, size_t nr)
{
	_cleanup_free uint32_t *left = calloc(nr, sizeof(*left));
	size_t nr_left = 0;

	if (!left)
		return -ENOMEM;
	for (size_t i = 0; i < nr; i++) {
		bool there;
		int r = device_there(t, devices[i], &there);
		if (r)
			return r;
		if (there)
			left[nr_left++] = devices[i];
	}
	return nr_left ? thin_pool_delete(t->pool, left, nr_left) : 0;
}

static int bury_together(struct thinbd *t, const uint32_t *devices, size_t nr,
			 struct thin_error *e)
{
	int r = delete_devices(t, devices, nr);

	if (r)
		return thin_error_set(
			e, r,
			"device %u was deleted, but its blocks are not free yet: "
			"%s; that is tried again when the pool is opened",
			devices[0], thin_strerror(r));
	thin_mutex_lock(&t->lock);
	r = drop_tombstones(t, devices, nr, e);
	thin_mutex_unlock(&t->lock);
	return r;
}

/* Together costs two commits and a change; one by one goes as far as it can. */
int thin_bury(struct thinbd *t, const uint32_t *devices, size_t nr, struct thin_error *e)
{
	int first = 0;

	if (!nr || !bury_together(t, devices, nr, NULL))
		return 0;
	for (size_t i = 0; i < nr; i++) {
		int r = bury_together(t, &devices[i], 1, first ? NULL : e);
		if (r && !first)
			first = r;
	}
	return first;
}

/* --- shrinking ----------------------------------------------------------- */

/* Is the block that @bytes falls into mapped? */
static int is_mapped(struct thinbd *t, uint32_t device, uint64_t bytes, bool *ret)
{
	uint64_t vblock = bytes / t->block_size;
	struct thin_run run;
	size_t nr;
	int r = thin_pool_lookup(t->pool, device, vblock, vblock + 1, &run, 1, &nr);

	if (!r)
		*ret = run.mapped;
	return r;
}

/* What is left of the last block past the end must not show again. */
static int zero_tail(struct thinbd *t, const struct thin_volume_conf *v,
		     struct thin_error *e)
{
	uint64_t end = thin_div_up(v->size, t->block_size) * t->block_size;
	_cleanup_volume_conf struct thin_volume_conf *longer = NULL;
	struct thin_opened o;
	bool mapped;
	int r;

	if (end == v->size)
		return 0;
	r = is_mapped(t, v->device, v->size, &mapped);
	if (r || !mapped)
		return r;
	r = thin_volume_conf_copy(v, &longer);
	if (r)
		return r;
	longer->size = end;
	r = thin_open_conf(t, longer, false, &o, e);
	if (r)
		return r;
	r = thin_volume_zero(o.v, v->size, end - v->size, THIN_FUA);
	thin_close_opened(t, &o);
	return r;
}

static int note_done(struct thinbd *t, const struct thin_volume_conf *v,
		     struct thin_error *e)
{
	_cleanup_volume_conf struct thin_volume_conf *done = NULL;
	int r = thin_volume_conf_copy(v, &done);

	if (r)
		return r;
	done->shrinking = false;
	struct thin_change change = {.kind = THIN_CHANGE_UPDATE, .volume = done};
	return thin_registry_change(t->registry, &change, 1, e);
}

int thin_finish_shrink(struct thinbd *t, const char *name, struct thin_error *e)
{
	_cleanup_volume_conf const struct thin_volume_conf *v = NULL;
	int r = thin_registry_find(t->registry, name, &v, e);

	if (!r)
		r = thin_pool_truncate(t->pool, v->device, v->size);
	if (!r)
		r = zero_tail(t, v, e);
	return r ? r : note_done(t, v, e);
}

/* --- at open ------------------------------------------------------------- */

static void report(struct thinbd *t, const char *what, int r,
		   const struct thin_error *why)
{
	struct thin_error line;

	(void)thin_error_set(&line, r, "%s: %s", what,
			     why->text[0] ? why->text : thin_strerror(r));
	thin_service_tell(t, THINBD_EVENT_NOTE, line.text);
}

static int recover_tombstones(struct thinbd *t)
{
	_cleanup_volume_list struct thin_volume_list list = {0};
	_cleanup_free uint32_t *devices = NULL;
	struct thin_error why = {0};
	int r = thin_registry_tombstones(t->registry, &list);

	if (r || !list.nr)
		return r;
	devices = calloc(list.nr, sizeof(*devices));
	if (!devices)
		return -ENOMEM;
	for (size_t i = 0; i < list.nr; i++)
		devices[i] = list.at[i]->device;
	r = thin_bury(t, devices, list.nr, &why);
	if (r)
		report(t, "deleted volumes", r, &why);
	return 0;
}

static int recover_shrinking(struct thinbd *t)
{
	_cleanup_volume_list struct thin_volume_list list = {0};
	int r = thin_registry_list(t->registry, &list);

	for (size_t i = 0; !r && i < list.nr; i++) {
		struct thin_error why = {0};
		if (!list.at[i]->shrinking)
			continue;
		int failed = thin_finish_shrink(t, list.at[i]->name, &why);
		if (failed)
			report(t, list.at[i]->name, failed, &why);
	}
	return r;
}

/* What can not be finished now keeps nobody from using the rest. */
int thin_recover(struct thinbd *t, struct thin_error *e)
{
	int r = recover_tombstones(t);

	if (!r)
		r = recover_shrinking(t);
	return r ? thin_error_default(e, r, "%s: %s", t->dir, thin_strerror(r)) : 0;
}
