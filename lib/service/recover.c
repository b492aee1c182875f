/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Work that takes many transactions, and goes on where it was interrupted:
 * freeing the blocks of volumes that were deleted (bury.c), and those past the
 * end of volumes that were shrunk.  The registry says first that it is to be
 * done, and last that it is.
 */
#include "service/service.h"

#include "util/checked.h"

#include <errno.h>

/* --- shrinking ----------------------------------------------------------- */

/* A volume that was deleted meanwhile has nothing left to be done. */
static int note_done_locked(struct thinbd *t, uint32_t device, struct thin_error *e)
	THIN_REQUIRES(t->lock)
{
	_cleanup_volume_conf const struct thin_volume_conf *v = NULL;
	_cleanup_volume_conf struct thin_volume_conf *done = NULL;
	int r = thin_registry_find_device(t->registry, device, &v);

	if (r == -ENOENT || (!r && thin_is_tombstone(v->name)))
		return 0;
	if (!r)
		r = thin_volume_conf_copy(v, &done);
	if (r)
		return r;
	done->shrinking = false;
	struct thin_change change = {.kind = THIN_CHANGE_UPDATE, .volume = done};
	return thin_registry_change(t->registry, &change, 1, e);
}

static int note_done(struct thinbd *t, uint32_t device, struct thin_error *e)
{
	thin_mutex_lock(&t->lock);
	int r = note_done_locked(t, device, e);
	thin_mutex_unlock(&t->lock);
	return r;
}

/* @ret_again: it has another record by now, and that may be why it failed. */
static int cut(struct thinbd *t, uint32_t device, bool *ret_again)
{
	_cleanup_volume_conf const struct thin_volume_conf *v = NULL, *now = NULL;
	int r = thin_registry_find_device(t->registry, device, &v);

	*ret_again = false;
	if (r || thin_is_tombstone(v->name))
		return r == -ENOENT ? 0 : r;
	r = thin_pool_truncate(t->pool, v->device, v->size);
	if (!r)
		r = thin_pool_zero_tail(t->pool, device, v->size, v->origin_overlap);
	if (r)
		*ret_again =
			thin_registry_find_device(t->registry, device, &now) || now != v;
	return r;
}

int thin_finish_shrink(struct thinbd *t, uint32_t device, struct thin_error *e)
{
	bool again = true;
	int r = 0;

	while (again)
		r = cut(t, device, &again);
	return r ? r : note_done(t, device, e);
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

static int recover_shrinking(struct thinbd *t)
{
	_cleanup_volume_list struct thin_volume_list list = {0};
	int r = thin_registry_list(t->registry, &list);

	for (size_t i = 0; !r && i < list.nr; i++) {
		struct thin_error why = {0};
		if (!list.at[i]->shrinking)
			continue;
		int failed = thin_finish_shrink(t, list.at[i]->device, &why);
		if (failed)
			report(t, list.at[i]->name, failed, &why);
	}
	return r;
}

/* What can not be finished now keeps nobody from using the rest. */
int thin_recover(struct thinbd *t, struct thin_error *e)
{
	int r = thin_bury_recover(t);

	if (!r)
		r = recover_shrinking(t);
	return r ? thin_error_default(e, r, "%s: %s", t->dir, thin_strerror(r)) : 0;
}
