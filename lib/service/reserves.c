/* SPDX-License-Identifier: BSD-3-Clause */
#include "service/reserves.h"

#include "service/json.h"
#include "util/checked.h"
#include "util/size.h"

#include <errno.h>

/* A record that somebody edited may say more than the volume can use. */
static uint64_t usable(const struct thin_volume_conf *v)
{
	return thin_min(v->reserve, v->size);
}

static int keep(struct thinbd *t, const struct thin_volume_conf *v, uint64_t bytes,
		bool check)
{
	if (v->device == THIN_NO_DEVICE)
		return 0;
	return thin_pool_set_reserve(t->pool, v->device, bytes, check);
}

/* Nobody is refused here, so what may go wrong is what the pool tells itself. */
static void keep_anyway(struct thinbd *t, const struct thin_volume_conf *v,
			uint64_t bytes)
{
	struct thin_error line;
	int r = keep(t, v, bytes, false);

	if (!r)
		return;
	(void)thin_error_set(&line, r, "%s: can not see to its reserve: %s", v->name,
			     thin_strerror(r));
	thin_service_tell(t, THINBD_EVENT_NOTE, line.text);
}

int thin_reserves_tell(struct thinbd *t, struct thin_error *e)
{
	_cleanup_volume_list struct thin_volume_list list = {0};
	int r = thin_registry_list(t->registry, &list);

	for (size_t i = 0; i < list.nr && !r; i++)
		if (list.at[i]->reserve && !list.at[i]->problem)
			keep_anyway(t, list.at[i], usable(list.at[i]));
	return r ? thin_error_default(e, r, "%s: %s", t->dir, thin_strerror(r)) : 0;
}

static int no_room(struct thinbd *t, const struct thin_volume_conf *v,
		   struct thin_error *e)
{
	char wanted[THIN_SIZE_TEXT], spare[THIN_SIZE_TEXT];
	struct thin_pool_status s;

	thin_pool_status(t->pool, &s);
	return thin_error_set(
		e, -ENOSPC,
		"%s: the pool can not keep %s for it: %s are free and not kept for "
		"others; `thinbd grow` makes room",
		v->name, thin_size_human(v->reserve, wanted),
		thin_size_human(s.data_spare * s.block_size, spare));
}

int thin_reserve_change(struct thinbd *t, const struct thin_volume_conf *v,
			struct thin_error *e)
{
	int r = keep(t, v, usable(v), true);

	return r == -ENOSPC ? no_room(t, v, e) : r;
}

void thin_reserve_restore(struct thinbd *t, const struct thin_volume_conf *v)
{
	keep_anyway(t, v, usable(v));
}

void thin_reserve_drop(struct thinbd *t, const struct thin_volume_conf *v)
{
	keep_anyway(t, v, 0);
}

int thin_reserve_move(struct thinbd *t, const struct thin_volume_conf *old,
		      const struct thin_volume_conf *new, struct thin_error *e)
{
	if (!old->reserve)
		return 0;
	thin_reserve_drop(t, old);
	int r = thin_reserve_change(t, new, e);
	if (r)
		thin_reserve_restore(t, old);
	return r;
}

int thin_reserve_refused(int r, const char *name, struct thin_error *e)
{
	if (r != -ENOSPC)
		return r;
	return thin_error_set(e, r,
			      "%s: there is no room for what its source could have to "
			      "copy, which has a reserve; `thinbd grow` makes room, "
			      "`thinbd set` changes the reserve",
			      name);
}

int thin_reserve_check(const struct thin_volume_conf *v, struct thin_error *e)
{
	if (v->reserve <= v->size)
		return 0;
	return thin_error_set(
		e, -EINVAL,
		"%s: reserve: a volume can not use more than its size, %llu bytes",
		v->name, (unsigned long long)v->size);
}

int thin_reserve_all(struct thinbd *t, struct thin_volume_conf *const *v, size_t nr,
		     struct thin_error *e)
{
	size_t kept = 0;
	int r = 0;

	for (; kept < nr && !r; kept += !r)
		if (v[kept]->reserve)
			r = thin_reserve_change(t, v[kept], e);
	if (r)
		thin_reserve_none(t, v, kept);
	return r;
}

void thin_reserve_none(struct thinbd *t, struct thin_volume_conf *const *v, size_t nr)
{
	for (size_t i = 0; i < nr; i++)
		if (v[i]->reserve)
			thin_reserve_drop(t, v[i]);
}

int thin_reserve_parse(const char *text, struct thin_volume_conf *v, struct thin_error *e)
{
	struct thin_error why = {0};
	uint64_t bytes;
	int r = thin_size_parse(text, &bytes, &why);

	if (r)
		return thin_error_set(e, r, "%s: reserve: %s", v->name, why.text);
	v->reserve = bytes;
	return thin_reserve_check(v, e);
}

void thin_reserve_json(struct thinbd *t, const struct thin_volume_conf *v,
		       struct json_object *o)
{
	uint64_t blocks = v->device == THIN_NO_DEVICE
				  ? 0
				  : thin_pool_reserve_left(t->pool, v->device);

	thin_json_add(o, "reserve_bytes", thin_json_number(v->reserve));
	thin_json_add(o, "reserve_left_bytes", thin_json_number(blocks * t->block_size));
}
