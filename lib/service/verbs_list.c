/* SPDX-License-Identifier: BSD-3-Clause */
/* list and show. */
#include "service/io_counters.h"
#include "service/requests.h"
#include "service/reserves.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* --- list ---------------------------------------------------------------- */

/* The volumes of @list, in its order. */
static int add_volumes(struct thin_call *c, const struct thin_volume_list *list)
{
	struct thin_clients clients;
	int r = thin_clients_all(c->t, &clients);

	if (r)
		return r;
	for (size_t i = 0; i < list->nr && !r; i++) {
		unsigned nr = thin_clients_count(&clients, list->at[i]->device);

		r = thin_items_add_object(c->items,
					  thin_volume_json(c->t, list->at[i], nr));
	}
	free(clients.devices);
	return r;
}

static int list_named(struct thin_call *c, struct thin_error *e)
{
	size_t nr = thin_arg_count(c->args, "names");
	_cleanup_volume_list struct thin_volume_list list = {
		.at = calloc(nr, sizeof(*list.at)),
	};
	int r = list.at ? 0 : -ENOMEM;

	/* All are there before the first is told of. */
	for (size_t i = 0; i < nr && !r; i++, list.nr += !r)
		r = thin_find(c->t, thin_arg_nth(c->args, "names", i), &list.at[i], e);
	return r ? r : add_volumes(c, &list);
}

/* Devices that the registry does not know, made by a message or by others. */
static int list_unnamed(struct thin_call *c)
{
	struct thin_device_info info;
	int r;

	for (uint32_t id = 0; !(r = thin_pool_next_device(c->t->pool, id, &info));
	     id = info.id + 1) {
		_cleanup_volume_conf const struct thin_volume_conf *v = NULL;
		r = thin_registry_find_device(c->t->registry, info.id, &v);
		if (r == -ENOENT)
			r = thin_items_add_object(c->items,
						  thin_unnamed_json(c->t, info.id));
		if (r)
			return r;
	}
	return r == -ENOENT ? 0 : r;
}

static int list_all(struct thin_call *c)
{
	_cleanup_volume_list struct thin_volume_list list = {0};
	int r = thin_registry_list(c->t->registry, &list);

	if (!r)
		r = add_volumes(c, &list);
	return r ? r : list_unnamed(c);
}

int thin_do_list(struct thin_call *c, struct json_object **ret, struct thin_error *e)
{
	(void)ret;
	return thin_arg_count(c->args, "names") ? list_named(c, e) : list_all(c);
}

/* --- show ---------------------------------------------------------------- */

static struct json_object *identity_json(const struct thin_volume_conf *v)
{
	struct json_object *o;

	if (!v->origin)
		return NULL;
	o = json_object_new_object();
	thin_json_add(o, "size", thin_json_number(v->origin_size));
	thin_json_add(o, "inode", thin_json_number(v->origin_inode));
	thin_json_add(o, "mtime_ns", json_object_new_int64(v->origin_mtime_ns));
	thin_json_add(o, "ctime_ns", json_object_new_int64(v->origin_ctime_ns));
	return o;
}

static struct json_object *children_json(struct thinbd *t, const char *name)
{
	_cleanup_volume_list struct thin_volume_list list = {0};
	struct json_object *array = json_object_new_array();

	if (!array || thin_registry_list(t->registry, &list))
		return array;
	for (size_t i = 0; i < list.nr; i++)
		if (list.at[i]->parent && !strcmp(list.at[i]->parent, name))
			(void)json_object_array_add(array,
						    thin_json_string(list.at[i]->name));
	return array;
}

/* Why it could not be served now; NULL: it could. */
static struct json_object *problem_json(struct thinbd *t,
					const struct thin_volume_conf *v)
{
	struct thin_volume *opened;
	struct thin_error why = {0};

	if (v->problem)
		return thin_json_string(v->problem);
	if (!thin_open_conf(t, v, true, &opened, &why)) {
		thin_volume_close(opened);
		return NULL;
	}
	return thin_json_string(why.text);
}

static void add_device(struct thinbd *t, const struct thin_volume_conf *v,
		       struct json_object *o)
{
	struct thin_device_info info = {0};
	bool there = v->device != THIN_NO_DEVICE &&
		     !thin_pool_next_device(t->pool, v->device, &info) &&
		     info.id == v->device;

	thin_json_add(o, "transaction_id",
		      there ? thin_json_number(info.transaction_id) : NULL);
	thin_json_add(o, "creation_time",
		      there ? thin_json_number(info.creation_time) : NULL);
	thin_json_add(o, "snapshotted_time",
		      there ? thin_json_number(info.snapshotted_time) : NULL);
}

/* Also a volume with a problem can be shown: that is what it is for. */
static int find_any(struct thinbd *t, const char *name,
		    const struct thin_volume_conf **ret, struct thin_error *e)
{
	_cleanup_volume_list struct thin_volume_list list = {0};
	int r = thin_find(t, name, ret, e);

	if (r != -EINVAL || thin_registry_list(t->registry, &list))
		return r;
	for (size_t i = 0; i < list.nr; i++)
		if (!strcmp(list.at[i]->name, name)) {
			*ret = thin_volume_conf_get(list.at[i]);
			return 0;
		}
	return r;
}

int thin_do_show(struct thin_call *c, struct json_object **ret, struct thin_error *e)
{
	_cleanup_volume_conf const struct thin_volume_conf *v = NULL;
	int r = find_any(c->t, thin_arg_text(c->args, "name"), &v, e);

	if (r)
		return r;
	struct json_object *o =
		thin_volume_json(c->t, v, thin_clients_of(c->t, v->device));
	thin_json_add(o, "origin_identity", identity_json(v));
	thin_json_add(o, "snapshots", children_json(c->t, v->name));
	thin_json_add(o, "flattening", json_object_new_boolean(v->flattening));
	add_device(c->t, v, o);
	thin_reserve_json(c->t, v, o);
	thin_json_add(o, "io",
		      atomic_load(&c->t->served) ? thin_counters_json(c->t, v->device)
						 : NULL);
	thin_json_add(o, "problem", problem_json(c->t, v));
	*ret = o;
	return 0;
}
