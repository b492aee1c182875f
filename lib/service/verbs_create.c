/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * New volumes: create and snapshot.  The registry announces the records, the
 * metadata gets the devices in one transaction, the registry finishes (I12).
 */
#include "registry/name.h"
#include "service/io_counters.h"
#include "service/requests.h"
#include "service/reserves.h"

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

int thin_free_device(struct thinbd *t, uint32_t from, uint32_t *ret, struct thin_error *e)
{
	uint32_t id = thin_registry_free_device(t->registry, from);

	while (id <= THIN_MAX_DEVICE_ID) {
		struct thin_device_info info;
		int r = thin_pool_next_device(t->pool, id, &info);
		if (r && r != -ENOENT)
			return r;
		if (r || info.id != id) {
			thin_counters_forget(t, id); /* the last owner's */
			*ret = id;
			return 0;
		}
		id = thin_registry_free_device(t->registry, id + 1);
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
		int r = thin_origin_record(c->t, origin, c->looks, v, e);
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

	if (!r)
		r = thin_arg_size(c->args, "reserve", &v->reserve, &why);
	if (r)
		return thin_error_set(e, r, "%s: %s", v->name, why.text);
	r = thin_string_set(&v->description, thin_arg_text(c->args, "description"));
	if (!r)
		r = fill_origin(c, v, e);
	if (!r)
		r = thin_reserve_check(v, e);
	if (r)
		return r;
	v->created = time(NULL);
	return 0;
}

/* Volumes that are made together: all like the first, whose origin is looked at. */
struct creation {
	struct thin_volume_conf **at;
	struct thin_change *changes;
	uint32_t *devices;
	size_t nr;
};

static void creation_fini(struct creation *n)
{
	for (size_t i = 0; i < n->nr; i++)
		thin_volume_conf_put(n->at[i]);
	free(n->at);
	free(n->changes);
	free(n->devices);
}

static int creation_init(struct creation *n, size_t max)
{
	*n = (struct creation){
		.at = calloc(max, sizeof(*n->at)),
		.changes = calloc(max, sizeof(*n->changes)),
		.devices = calloc(max, sizeof(*n->devices)),
	};
	return n->at && n->changes && n->devices ? 0 : -ENOMEM;
}

static int new_like(const struct thin_volume_conf *first, const char *name,
		    struct thin_volume_conf **ret)
{
	_cleanup_volume_conf struct thin_volume_conf *v = NULL;
	int r = thin_volume_conf_copy(first, &v);

	if (!r)
		r = thin_string_set(&v->name, name);
	if (!r)
		*ret = thin_steal(v);
	return r;
}

static int new_first(struct thin_call *c, const char *name, struct thin_volume_conf **ret,
		     struct thin_error *e)
{
	_cleanup_volume_conf struct thin_volume_conf *v = NULL;
	int r = thin_volume_conf_new(name, &v);

	if (!r)
		r = fill_conf(c, v, e);
	if (!r)
		*ret = thin_steal(v);
	return r;
}

static int add_new(struct thin_call *c, struct creation *n, const char *name,
		   struct thin_error *e)
{
	uint32_t from = n->nr ? n->devices[n->nr - 1] + 1 : 0, device;
	struct thin_volume_conf *v;
	bool exists;
	int r = exists_already(c, name, &exists, e);

	if (r || exists)
		return r;
	r = n->nr ? new_like(n->at[0], name, &v) : new_first(c, name, &v, e);
	if (r)
		return r;
	n->at[n->nr] = v;
	n->changes[n->nr] = (struct thin_change){.kind = THIN_CHANGE_CREATE, .volume = v};
	v->readonly = thin_arg_flag(c->args, "readonly") || thin_name_is_snapshot(name);
	n->nr++;
	r = thin_free_device(c->t, from, &device, e);
	if (r)
		return r;
	v->device = n->devices[n->nr - 1] = device;
	return thin_volume_conf_check(v, e);
}

static int create_all(struct thin_call *c, struct creation *n, struct thin_error *e)
{
	int r = thin_registry_begin(c->t->registry, n->changes, n->nr, e);

	if (r)
		return r;
	r = thin_pool_create_thins(c->t->pool, n->devices, n->nr);
	return thin_settle(c->t, r, n->at[0]->name, e);
}

/* What is to be kept for them is kept before there is anything to take back. */
static int keep_and_create(struct thin_call *c, struct creation *n, struct thin_error *e)
{
	int r;

	if (!n->nr)
		return 0;
	r = thin_reserve_all(c->t, n->at, n->nr, e);
	if (r)
		return r;
	r = create_all(c, n, e);
	if (r)
		thin_reserve_none(c->t, n->at, n->nr);
	return r;
}

/* One volume is shown; of several, the names of those that are new. */
static struct json_object *created_json(struct thin_call *c, const struct creation *n)
{
	struct json_object *o, *names;

	if (thin_arg_count(c->args, "names") == 1)
		return thin_named_json(c->t, thin_arg_nth(c->args, "names", 0));
	o = json_object_new_object();
	names = json_object_new_array();
	for (size_t i = 0; names && i < n->nr; i++)
		(void)json_object_array_add(names, thin_json_string(n->at[i]->name));
	thin_json_add(o, "names", names);
	return o;
}

int thin_do_create(struct thin_call *c, struct json_object **ret, struct thin_error *e)
{
	size_t nr = thin_arg_count(c->args, "names");
	struct creation n;
	int r = creation_init(&n, nr);

	for (size_t i = 0; i < nr && !r; i++)
		r = add_new(c, &n, thin_arg_nth(c->args, "names", i), e);
	if (!r)
		r = keep_and_create(c, &n, e);
	if (!r)
		*ret = created_json(c, &n);
	creation_fini(&n);
	return r;
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
	v->reserve = 0;
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
	/* That may be a matter of moments. */
	if (!r && source->shrinking)
		r = thin_error_set(e, -EISCONN, "%s: is being shrunk", source_name);
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
	r = thin_pool_snapshot(t->pool, s->pairs, s->nr);
	return thin_settle(t, thin_reserve_refused(r, s->at[0]->name, e), s->at[0]->name,
			   e);
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
