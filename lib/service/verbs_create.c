/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * New volumes: create and snapshot.  The registry announces the records, the
 * metadata gets the devices in one transaction, the registry finishes (I12).
 */
#include "registry/name.h"
#include "service/io_counters.h"
#include "service/requests.h"

#include <errno.h>
#include <string.h>
#include <time.h>

int thin_settle(struct thinbd *t, int r, const char *name, struct thin_error *e)
{
	switch (r) {
	case 0:
		thin_registry_finish(t->registry);
		return 0;
	/* Refusals: there is surely nothing in the metadata. */
	case -EEXIST:
	case -ENOENT:
	case -EINVAL:
	case -EBUSY:
	case -EDQUOT:
	case -EROFS:
	case -ENOSPC:
	case -ENOBUFS:
	case -ENOMEM:
		thin_registry_cancel(t->registry);
		break;
	default:
		thin_registry_abandon(t->registry);
	}
	return thin_error_default(e, r, "%s: %s", name, thin_strerror(r));
}

/* --- device ids ---------------------------------------------------------- */

static bool registry_has(struct thinbd *t, uint32_t device)
{
	_cleanup_volume_conf const struct thin_volume_conf *v = NULL;

	return !thin_registry_find_device(t->registry, device, &v);
}

int thin_free_device(struct thinbd *t, uint32_t from, uint32_t *ret, struct thin_error *e)
{
	for (uint32_t id = from; id <= THIN_MAX_DEVICE_ID; id++) {
		struct thin_device_info info;
		int r = thin_pool_next_device(t->pool, id, &info);
		if (r && r != -ENOENT)
			return r;
		if ((r || info.id != id) && !registry_has(t, id)) {
			thin_counters_forget(t, id); /* the last owner's */
			*ret = id;
			return 0;
		}
	}
	return thin_error_set(e, -EDQUOT, "%s: all %u device ids are taken", t->dir,
			      THIN_MAX_DEVICE_ID + 1);
}

/* --- create -------------------------------------------------------------- */

/* Is it there already, and is that what was wanted? */
static int exists_already(struct thin_call *c, const char *name, bool *ret,
			  struct thin_error *e)
{
	_cleanup_volume_conf const struct thin_volume_conf *v = NULL;
	int r = thin_name_check(name, e);

	if (r)
		return r;
	*ret = thin_registry_find(c->t->registry, name, &v, NULL) != -ENOENT;
	if (*ret && !thin_arg_flag(c->args, "if_not_exists"))
		return thin_error_set(e, -EEXIST, "%s: there is such a volume already",
				      name);
	return 0;
}

static int fill_origin(struct thin_call *c, struct thin_volume_conf *v,
		       struct thin_error *e)
{
	const char *origin = thin_arg_text(c->args, "origin");

	if (origin) {
		int r = thin_origin_record(c->t, origin, v, e);
		if (r)
			return r;
	}
	if (!v->size)
		v->size = v->origin_size;
	if (!v->size)
		return thin_error_set(e, -EINVAL,
				      origin ? "%s: the origin is empty; give a --size"
					     : "%s: give a --size, or an --origin",
				      v->name);
	return 0;
}

static int fill_conf(struct thin_call *c, struct thin_volume_conf *v,
		     struct thin_error *e)
{
	struct thin_error why = {0};
	int r = thin_arg_size(c->args, "size", &v->size, &why);

	if (r)
		return thin_error_set(e, r, "%s: %s", v->name, why.text);
	r = thin_string_set(&v->description, thin_arg_text(c->args, "description"));
	if (!r)
		r = fill_origin(c, v, e);
	if (r)
		return r;
	v->readonly =
		thin_arg_flag(c->args, "readonly") || thin_name_is_snapshot(v->name);
	v->created = time(NULL);
	r = thin_free_device(c->t, 0, &v->device, e);
	return r ? r : thin_volume_conf_check(v, e);
}

int thin_do_create(struct thin_call *c, struct json_object **ret, struct thin_error *e)
{
	const char *name = thin_arg_text(c->args, "name");
	_cleanup_volume_conf struct thin_volume_conf *v = NULL;
	bool exists = false;
	int r = exists_already(c, name, &exists, e);

	if (!r && !exists)
		r = thin_volume_conf_new(name, &v);
	if (!r && !exists)
		r = fill_conf(c, v, e);
	if (!r && !exists) {
		struct thin_change change = {.kind = THIN_CHANGE_CREATE, .volume = v};
		r = thin_registry_begin(c->t->registry, &change, 1, e);
		if (!r)
			r = thin_settle(c->t,
					thin_pool_create_thin(c->t->pool, v->device),
					name, e);
	}
	if (r)
		return r;
	*ret = thin_named_json(c->t, name);
	return 0;
}

/* --- snapshot ------------------------------------------------------------ */

struct snapshots {
	struct thin_volume_conf **at; /* those to be made */
	struct thin_snap_pair *pairs;
	struct thin_change *changes;
	size_t nr;
};

static void snapshots_fini(struct snapshots *s)
{
	for (size_t i = 0; i < s->nr; i++)
		thin_volume_conf_put(s->at[i]);
	free(s->at);
	free(s->pairs);
	free(s->changes);
}

static int snapshots_init(struct snapshots *s, size_t max)
{
	*s = (struct snapshots){
		.at = calloc(max, sizeof(*s->at)),
		.pairs = calloc(max, sizeof(*s->pairs)),
		.changes = calloc(max, sizeof(*s->changes)),
	};
	return s->at && s->pairs && s->changes ? 0 : -ENOMEM;
}

/* A record like its source's; what was told about the source is not its. */
static int make_conf(struct thin_call *c, const struct thin_volume_conf *source,
		     const char *name, uint32_t device, struct thin_volume_conf **ret)
{
	bool readonly =
		thin_arg_flag(c->args, "readonly") ||
		(thin_name_is_snapshot(name) && !thin_arg_flag(c->args, "writable"));
	_cleanup_volume_conf struct thin_volume_conf *v = NULL;
	int r = thin_volume_conf_copy(source, &v);

	if (!r)
		r = thin_string_set(&v->name, name);
	if (!r)
		r = thin_string_set(&v->parent, source->name);
	if (!r)
		r = thin_string_set(&v->description, NULL);
	if (r)
		return r;
	v->device = device;
	v->readonly = readonly;
	v->created = time(NULL);
	v->flattening = false;
	*ret = thin_steal(v);
	return 0;
}

static int add_snapshot(struct thin_call *c, struct snapshots *s, const char *source_name,
			const char *name, struct thin_error *e)
{
	_cleanup_volume_conf const struct thin_volume_conf *source = NULL;
	uint32_t from = s->nr ? s->at[s->nr - 1]->device + 1 : 0;
	uint32_t device;
	bool exists;
	int r = exists_already(c, name, &exists, e);

	if (r || exists)
		return r;
	r = thin_find(c->t, source_name, &source, e);
	if (!r && source->shrinking)
		r = thin_error_set(e, -EBUSY, "%s: is being shrunk", source_name);
	if (!r)
		r = thin_free_device(c->t, from, &device, e);
	if (!r)
		r = make_conf(c, source, name, device, &s->at[s->nr]);
	if (r)
		return r;
	s->pairs[s->nr] =
		(struct thin_snap_pair){.origin = source->device, .snap = device};
	s->changes[s->nr] = (struct thin_change){
		.kind = THIN_CHANGE_CREATE,
		.volume = s->at[s->nr],
	};
	s->nr++;
	return 0;
}

static int make_snapshots(struct thin_call *c, struct snapshots *s, struct thin_error *e)
{
	struct thinbd *t = c->t;

	if (!s->nr)
		return 0;
	int r = thin_registry_begin(t->registry, s->changes, s->nr, e);
	if (r)
		return r;
	return thin_settle(t, thin_pool_snapshot(t->pool, s->pairs, s->nr),
			   s->at[0]->name, e);
}

static struct json_object *snapshots_json(struct thin_call *c)
{
	struct json_object *array = json_object_new_array();
	size_t nr = thin_arg_count(c->args, "pairs");

	for (size_t i = 1; array && i < nr; i += 2)
		(void)json_object_array_add(
			array, thin_named_json(c->t, thin_arg_nth(c->args, "pairs", i)));
	return array;
}

int thin_do_snapshot(struct thin_call *c, struct json_object **ret, struct thin_error *e)
{
	size_t nr = thin_arg_count(c->args, "pairs");
	struct snapshots s;
	int r;

	if (thin_arg_flag(c->args, "readonly") && thin_arg_flag(c->args, "writable"))
		return thin_error_set(e, -EINVAL,
				      "snapshot: --readonly or --writable, not both");
	r = snapshots_init(&s, nr / 2);
	for (size_t i = 0; !r && i < nr; i += 2)
		r = add_snapshot(c, &s, thin_arg_nth(c->args, "pairs", i),
				 thin_arg_nth(c->args, "pairs", i + 1), e);
	if (!r)
		r = make_snapshots(c, &s, e);
	if (!r)
		*ret = snapshots_json(c);
	snapshots_fini(&s);
	return r;
}
