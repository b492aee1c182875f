/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two sorted arrays of pointers.  At 10,000 volumes a lookup is 14 steps, a
 * copy 80 KiB, and nothing needs rebalancing.
 */
#include "registry/table.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

void thin_table_fini(struct thin_table *t)
{
	for (size_t i = 0; i < t->nr; i++)
		thin_volume_conf_put(t->by_name[i]);
	free(t->by_name);
	free(t->by_device);
	*t = (struct thin_table){0};
}

/* Room for @room records in both arrays. */
static int reserve(struct thin_table *t, size_t room)
{
	void *names, *devices;

	if (room <= t->room)
		return 0;
	names = reallocarray(t->by_name, room, sizeof(*t->by_name));
	if (!names)
		return -ENOMEM;
	t->by_name = names;
	devices = reallocarray(t->by_device, room, sizeof(*t->by_device));
	if (!devices)
		return -ENOMEM;
	t->by_device = devices;
	t->room = room;
	return 0;
}

int thin_table_copy(const struct thin_table *t, struct thin_table *ret)
{
	struct thin_table copy = {0};

	/* Some room, so that adding a few does not mean moving all again. */
	if (reserve(&copy, t->nr + 16)) {
		thin_table_fini(&copy);
		return -ENOMEM;
	}
	for (size_t i = 0; i < t->nr; i++) {
		(void)thin_volume_conf_get(t->by_name[i]);
		copy.by_name[i] = t->by_name[i];
	}
	if (t->nr_devices)
		memcpy(copy.by_device, t->by_device,
		       t->nr_devices * sizeof(*t->by_device));
	copy.nr = t->nr;
	copy.nr_devices = t->nr_devices;
	*ret = copy;
	return 0;
}

/* The first place whose name is not before @name. */
static size_t name_place(const struct thin_table *t, const char *name)
{
	size_t low = 0, high = t->nr;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (strcmp(t->by_name[middle]->name, name) < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

static size_t device_place(const struct thin_table *t, uint32_t device)
{
	size_t low = 0, high = t->nr_devices;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (t->by_device[middle]->device < device)
			low = middle + 1;
		else
			high = middle;
	}
	return low;
}

struct thin_volume_conf *thin_table_find(const struct thin_table *t, const char *name)
{
	size_t i = name_place(t, name);

	return i < t->nr && !strcmp(t->by_name[i]->name, name) ? t->by_name[i] : NULL;
}

struct thin_volume_conf *thin_table_find_device(const struct thin_table *t,
						uint32_t device)
{
	size_t i = device_place(t, device);

	return i < t->nr_devices && t->by_device[i]->device == device ? t->by_device[i]
								      : NULL;
}

/*
 * Devices are different numbers in order: up to place i they leave no gap
 * exactly if the one at i is @from + the places passed.
 */
uint32_t thin_table_free_device(const struct thin_table *t, uint32_t from)
{
	size_t first = device_place(t, from), low = first, high = t->nr_devices;

	while (low < high) {
		size_t middle = low + (high - low) / 2;

		if (t->by_device[middle]->device - from == middle - first)
			low = middle + 1;
		else
			high = middle;
	}
	return from + (uint32_t)(low - first);
}

static void array_insert(struct thin_volume_conf **array, size_t nr, size_t at,
			 struct thin_volume_conf *v)
{
	memmove(array + at + 1, array + at, (nr - at) * sizeof(*array));
	array[at] = v;
}

static void array_remove(struct thin_volume_conf **array, size_t nr, size_t at)
{
	memmove(array + at, array + at + 1, (nr - at - 1) * sizeof(*array));
}

int thin_table_insert(struct thin_table *t, struct thin_volume_conf *v,
		      struct thin_error *e)
{
	const struct thin_volume_conf *other;

	if (thin_table_find(t, v->name))
		return thin_error_set(e, -EEXIST,
				      "%s: there is a volume of this name already",
				      v->name);
	other = thin_table_find_device(t, v->device);
	if (other)
		return thin_error_set(e, -EEXIST,
				      "%s: device %" PRIu32 " is %s's already", v->name,
				      v->device, other->name);
	if (t->nr == t->room && reserve(t, t->room * 2 + 16))
		return -ENOMEM;

	array_insert(t->by_name, t->nr, name_place(t, v->name), v);
	t->nr++;
	if (v->device != THIN_NO_DEVICE) {
		array_insert(t->by_device, t->nr_devices, device_place(t, v->device), v);
		t->nr_devices++;
	}
	(void)thin_volume_conf_get(v);
	return 0;
}

void thin_table_remove(struct thin_table *t, const char *name)
{
	struct thin_volume_conf *v = thin_table_find(t, name);

	if (!v)
		return;
	array_remove(t->by_name, t->nr, name_place(t, name));
	t->nr--;
	if (v->device != THIN_NO_DEVICE) {
		array_remove(t->by_device, t->nr_devices, device_place(t, v->device));
		t->nr_devices--;
	}
	thin_volume_conf_put(v);
}

int thin_table_diff(const struct thin_table *before, const struct thin_table *after,
		    int (*fn)(void *ctx, struct thin_volume_conf *old,
			      struct thin_volume_conf *new),
		    void *ctx)
{
	size_t i = 0, j = 0;

	while (i < before->nr || j < after->nr) {
		struct thin_volume_conf *old = i < before->nr ? before->by_name[i] : NULL;
		struct thin_volume_conf *new = j < after->nr ? after->by_name[j] : NULL;
		int order = !old	 ? 1
			    : !new	 ? -1
			    : old == new ? 0
					 : strcmp(old->name, new->name);
		int r = 0;

		if (order < 0)
			new = NULL;
		if (order > 0)
			old = NULL;
		i += !!old;
		j += !!new;
		if (old != new)
			r = fn(ctx, old, new);
		if (r)
			return r;
	}
	return 0;
}

int thin_table_check_parent(const struct thin_table *t, const struct thin_volume_conf *v,
			    struct thin_error *e)
{
	const struct thin_volume_conf *up = v;

	for (size_t steps = 0; up->parent; steps++) {
		const struct thin_volume_conf *next = thin_table_find(t, up->parent);

		if (!next)
			return thin_error_set(e, -ENOENT,
					      "%s: its parent %s does not exist",
					      up->name, up->parent);
		if (steps > t->nr)
			return thin_error_set(e, -EINVAL,
					      "%s: would be among its own ancestors",
					      v->name);
		up = next;
	}
	return 0;
}

#define NO_PARENT   SIZE_MAX
#define LOST_PARENT (SIZE_MAX - 1)

/* Where each record's parent is; caller frees. */
static size_t *parent_places(const struct thin_table *t)
{
	size_t *places = calloc(t->nr + 1, sizeof(*places));

	for (size_t i = 0; places && i < t->nr; i++) {
		const char *parent = t->by_name[i]->parent;

		places[i] = NO_PARENT;
		if (!parent)
			continue;
		places[i] = name_place(t, parent);
		if (!thin_table_find(t, parent))
			places[i] = LOST_PARENT;
	}
	return places;
}

/* From those that have no parent down: whose parent is settled, is settled. */
static void settle(const size_t *parent, bool *settled, size_t nr)
{
	bool more = true;

	while (more) {
		more = false;
		for (size_t i = 0; i < nr; i++) {
			if (settled[i] || (parent[i] != NO_PARENT && !settled[parent[i]]))
				continue;
			settled[i] = true;
			more = true;
		}
	}
}

int thin_table_lost_parents(struct thin_table *t,
			    int (*fn)(void *ctx, struct thin_volume_conf *v), void *ctx)
{
	_cleanup_free size_t *parent = parent_places(t);
	_cleanup_free bool *settled = calloc(t->nr + 1, sizeof(*settled));
	int r = 0;

	if (!parent || !settled)
		return -ENOMEM;
	for (size_t i = 0; !r && i < t->nr; i++)
		if (parent[i] == LOST_PARENT) {
			parent[i] = NO_PARENT;
			r = fn(ctx, t->by_name[i]);
		}
	settle(parent, settled, t->nr);
	/* Who is left hangs on a circle: cut it, and see who hangs on it still. */
	for (size_t i = 0; !r && i < t->nr; i++)
		if (!settled[i]) {
			parent[i] = NO_PARENT;
			r = fn(ctx, t->by_name[i]);
			settle(parent, settled, t->nr);
		}
	return r;
}
