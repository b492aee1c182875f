/* SPDX-License-Identifier: BSD-3-Clause */
/* Volumes that are there: delete, rename, set. */
#include "service/requests.h"
#include "service/reserves.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

int thin_find(struct thinbd *t, const char *name, const struct thin_volume_conf **ret,
	      struct thin_error *e)
{
	int r = thin_registry_find(t->registry, name, ret, e);

	return r == -ENOENT ? thin_error_set(
				      e, r, "%s: no such volume; see `thinbd list`", name)
			    : thin_error_default(e, r, "%s: %s", name, thin_strerror(r));
}

int thin_check_unused(struct thinbd *t, const struct thin_volume_conf *v,
		      struct thin_error *e)
{
	unsigned nr = thin_clients_of(t, v->device);

	if (!nr && !thin_pool_is_open(t->pool, v->device))
		return 0;
	if (!nr)
		return thin_error_set(
			e, -EISCONN, "%s: in use by another request; try again", v->name);
	return thin_error_set(e, -EISCONN, "%s: in use by %u client%s; disconnect first",
			      v->name, nr, nr == 1 ? "" : "s");
}

/* --- delete -------------------------------------------------------------- */

struct place {
	const char *name;
	size_t at; /* in the order of the call */
};

static int by_name(const void *a, const void *b)
{
	const struct place *x = a, *y = b;
	int order = strcmp(x->name, y->name);

	return order ? order : (x->at > y->at) - (x->at < y->at);
}

/* Of a volume that was named twice the first one stays. */
static int drop_doubles(struct thin_volume_list *list)
{
	_cleanup_free struct place *places = calloc(list->nr + 1, sizeof(*places));
	size_t kept = 0;

	if (!places)
		return -ENOMEM;
	for (size_t i = 0; i < list->nr; i++)
		places[i] = (struct place){list->at[i]->name, i};
	qsort(places, list->nr, sizeof(*places), by_name);
	for (size_t i = list->nr; i-- > 1;) {
		if (strcmp(places[i].name, places[i - 1].name) != 0)
			continue;
		thin_volume_conf_put(list->at[places[i].at]);
		list->at[places[i].at] = NULL;
	}
	for (size_t i = 0; i < list->nr; i++)
		if (list->at[i])
			list->at[kept++] = list->at[i];
	list->nr = kept;
	return 0;
}

/* The volumes that the call names, each once. */
static int gather(struct thin_call *c, struct thin_volume_list *list,
		  struct thin_error *e)
{
	bool if_exists = thin_arg_flag(c->args, "if_exists");
	size_t nr = thin_arg_count(c->args, "names");

	list->at = calloc(nr, sizeof(*list->at));
	if (!list->at)
		return -ENOMEM;
	for (size_t i = 0; i < nr; i++) {
		const char *name = thin_arg_nth(c->args, "names", i);
		int r = thin_find(c->t, name, &list->at[list->nr], e);
		if (r == -ENOENT && if_exists)
			continue;
		if (r)
			return r;
		list->nr++;
	}
	return drop_doubles(list);
}

/* Of all of them; where some are in use, or needed, none is deleted. */
static int check_all(struct thinbd *t, const struct thin_volume_list *list, bool force,
		     struct thin_error *e)
{
	int r = thin_check_no_origins(t, list, e);

	for (size_t i = 0; i < list->nr && !r && !force; i++) {
		r = thin_check_unused(t, list->at[i], e);
		if (r)
			r = thin_error_set(e, r, "%s; or --force", e->text);
	}
	return r;
}

/* The names go at once, the blocks afterwards. */
static int bury_records(struct thinbd *t, const struct thin_volume_list *list,
			struct thin_error *e)
{
	_cleanup_free struct thin_change *changes =
		calloc(list->nr + 1, sizeof(*changes));
	_cleanup_free char *born = calloc(list->nr + 1, THIN_BORN_MAX);

	if (!changes || !born)
		return -ENOMEM;
	for (size_t i = 0; i < list->nr; i++)
		changes[i] = (struct thin_change){
			.kind = THIN_CHANGE_DELETE,
			.name = list->at[i]->name,
			.bury = true,
			.born = thin_device_born(t, list->at[i]->device,
						 born + i * THIN_BORN_MAX),
		};
	return thin_registry_change(t->registry, changes, list->nr, e);
}

static uint64_t used_blocks(struct thinbd *t)
{
	struct thin_pool_status s;

	thin_pool_status(t->pool, &s);
	return s.metadata.data_allocated;
}

int thin_delete_begin(struct thinbd *t, const struct thin_volume_list *list,
		      struct thin_deletion *d, struct thin_error *e)
{
	int r = check_all(t, list, d->force, e);

	d->before = used_blocks(t);
	if (!r && list->nr)
		r = bury_records(t, list, e);
	for (size_t i = 0; i < list->nr && !r; i++)
		thin_reserve_drop(t, list->at[i]);
	return r;
}

int thin_delete_end(struct thinbd *t, const struct thin_volume_list *list,
		    struct thin_deletion *d, struct thin_error *e)
{
	_cleanup_free uint32_t *devices = calloc(list->nr + 1, sizeof(*devices));

	if (!devices)
		return -ENOMEM;
	for (size_t i = 0; i < list->nr; i++) {
		devices[i] = list->at[i]->device;
		thin_revoke(t, devices[i]);
	}
	int r = d->wait ? thin_bury(t, devices, list->nr, e)
			: thin_bury_soon(t, devices, list->nr, e);
	uint64_t after = used_blocks(t);
	d->freed = d->before > after ? (d->before - after) * t->block_size : 0;
	d->freeing = thin_mapped_bytes(t, devices, list->nr);
	return r;
}

static struct json_object *names_json(const struct thin_volume_list *list)
{
	struct json_object *array = json_object_new_array();

	for (size_t i = 0; array && i < list->nr; i++)
		(void)json_object_array_add(array, thin_json_string(list->at[i]->name));
	return array;
}

int thin_do_delete(struct thin_call *c, struct json_object **ret, struct thin_error *e)
{
	_cleanup_volume_list struct thin_volume_list list = {0};
	struct thin_deletion d = {.force = thin_arg_flag(c->args, "force")};
	bool dry_run = thin_arg_flag(c->args, "dry_run");

	/* One who is renamed in between is not who was meant. */
	thin_mutex_lock(&c->t->lock);
	int r = gather(c, &list, e);
	if (!r && !dry_run)
		r = thin_delete_begin(c->t, &list, &d, e);
	thin_mutex_unlock(&c->t->lock);
	if (!r && dry_run)
		r = thin_would_free(c->t, &list, &d.freed);
	else if (!r)
		r = thin_delete_end(c->t, &list, &d, e);
	if (r)
		return r;
	*ret = json_object_new_object();
	thin_json_add(*ret, "deleted", names_json(&list));
	thin_json_add(*ret, "freed_bytes", thin_json_number(d.freed));
	thin_json_add(*ret, "freeing_bytes", thin_json_number(d.freeing));
	thin_json_add(*ret, "dry_run", json_object_new_boolean(dry_run));
	return 0;
}

/* --- rename -------------------------------------------------------------- */

int thin_do_rename(struct thin_call *c, struct json_object **ret, struct thin_error *e)
{
	const char *old = thin_arg_text(c->args, "old");
	const char *new = thin_arg_text(c->args, "new");
	struct thin_change change = {
		.kind = THIN_CHANGE_RENAME,
		.name = old,
		.new_name = new,
	};
	_cleanup_volume_conf const struct thin_volume_conf *v = NULL;
	int r = thin_find(c->t, old, &v, e);

	if (!r)
		r = thin_registry_change(c->t->registry, &change, 1, e);
	if (r)
		return r;
	*ret = thin_named_json(c->t, new);
	return 0;
}

/* --- set ----------------------------------------------------------------- */

static int parse_bool(const char *text, bool *ret)
{
	static const char *const words[2][4] = {
		{"false", "no", "off", "0"},
		{"true", "yes", "on", "1"},
	};

	for (unsigned value = 0; value < 2; value++)
		for (unsigned i = 0; i < 4; i++)
			if (!strcasecmp(text, words[value][i])) {
				*ret = value;
				return 0;
			}
	return -EINVAL;
}

/* Who reads it as an origin must not see it change. */
static int check_no_user(struct thinbd *t, const struct thin_volume_conf *v,
			 struct thin_error *e)
{
	int r = thin_check_no_origin(t, v->name, e);

	if (r || !thin_origin_is_open(t, v->device))
		return r;
	return thin_error_set(e, -EISCONN,
			      "%s: is still being let go by what it was the origin of; "
			      "try again",
			      v->name);
}

static int set_readonly(struct thin_call *c, const char *value,
			struct thin_volume_conf *v, struct thin_error *e)
{
	bool readonly;

	if (parse_bool(value, &readonly))
		return thin_error_set(e, -EINVAL,
				      "%s: readonly: \"%.64s\" is not true or false",
				      v->name, value);
	if (!readonly) {
		int r = check_no_user(c->t, v, e);
		if (r)
			return r;
	} else if (thin_has_writers(c->t, v->device)) {
		return thin_error_set(
			e, -EISCONN,
			"%s: a client has it open for writing; disconnect first",
			v->name);
	}
	v->readonly = readonly;
	return 0;
}

static void describe_origin(const struct thin_volume_conf *v, char *text, size_t len)
{
	if (!v->origin)
		snprintf(text, len, "none");
	else
		snprintf(text, len,
			 "%" PRIu64 " bytes, inode %" PRIu64 ", modified %" PRId64
			 ".%09" PRId64 ", changed %" PRId64 ".%09" PRId64,
			 v->origin_size, v->origin_inode, v->origin_mtime_ns / 1000000000,
			 v->origin_mtime_ns % 1000000000, v->origin_ctime_ns / 1000000000,
			 v->origin_ctime_ns % 1000000000);
}

static bool same_identity(const struct thin_volume_conf *a,
			  const struct thin_volume_conf *b)
{
	return a->origin && b->origin && a->origin_size == b->origin_size &&
	       a->origin_inode == b->origin_inode &&
	       a->origin_mtime_ns == b->origin_mtime_ns &&
	       a->origin_ctime_ns == b->origin_ctime_ns;
}

static int drop_origin(struct thin_volume_conf *v)
{
	v->origin_size = v->origin_inode = 0;
	v->origin_mtime_ns = v->origin_ctime_ns = 0;
	int r = thin_string_set(&v->origin, NULL);
	return r ? r : thin_string_set(&v->origin_path, NULL);
}

static int set_origin(struct thin_call *c, const char *value, struct thin_volume_conf *v,
		      struct thin_error *e)
{
	_cleanup_volume_conf struct thin_volume_conf *old = NULL;
	char was[160], is[160];
	int r = thin_check_no_origin(c->t, v->name, e);

	if (!r)
		r = thin_check_unused(c->t, v, e);
	if (!r)
		r = thin_volume_conf_copy(v, &old);
	if (!r)
		r = *value ? thin_origin_record(c->t, value, c->looks, v, e)
			   : drop_origin(v);
	/* The same one by another path: what was shrunk away stays so. */
	if (r || same_identity(old, v))
		return r;
	v->origin_overlap = 0;
	v->flattening = false;
	if ((!old->origin && !v->origin) || thin_arg_flag(c->args, "force"))
		return 0;
	describe_origin(old, was, sizeof(was));
	describe_origin(v, is, sizeof(is));
	return thin_error_set(
		e, -ESTALE,
		"%s: that is another origin (recorded: %s; there: %s): what was "
		"not written will read differently; --force to take it",
		v->name, was, is);
}

static int set_one(struct thin_call *c, const char *setting, struct thin_volume_conf *v,
		   struct thin_error *e)
{
	const char *value = strchr(setting, '=');

	if (!value)
		return thin_error_set(e, -EINVAL, "%s: \"%.64s\" is not KEY=VALUE",
				      v->name, setting);
	size_t len = (size_t)(value++ - setting);
	if (len == 8 && !strncmp(setting, "readonly", len))
		return set_readonly(c, value, v, e);
	if (len == 6 && !strncmp(setting, "origin", len))
		return set_origin(c, value, v, e);
	if (len == 11 && !strncmp(setting, "description", len))
		return thin_string_set(&v->description, value);
	if (len == 7 && !strncmp(setting, "reserve", len))
		return thin_reserve_parse(value, v, e);
	return thin_error_set(
		e, -EINVAL,
		"%s: \"%.*s\" can not be set; readonly, description, origin and "
		"reserve can",
		v->name, (int)(len < 64 ? len : 64), setting);
}

int thin_do_set(struct thin_call *c, struct json_object **ret, struct thin_error *e)
{
	const char *name = thin_arg_text(c->args, "name");
	_cleanup_volume_conf const struct thin_volume_conf *v = NULL;
	_cleanup_volume_conf struct thin_volume_conf *changed = NULL;
	size_t nr = thin_arg_count(c->args, "settings");
	int r = thin_find(c->t, name, &v, e);

	if (!r)
		r = thin_volume_conf_copy(v, &changed);
	for (size_t i = 0; i < nr && !r; i++)
		r = set_one(c, thin_arg_nth(c->args, "settings", i), changed, e);
	if (!r && changed->reserve != v->reserve)
		r = thin_reserve_change(c->t, changed, e);
	if (!r) {
		struct thin_change change = {.kind = THIN_CHANGE_UPDATE,
					     .volume = changed};
		r = thin_registry_change(c->t->registry, &change, 1, e);
		if (r && changed->reserve != v->reserve)
			thin_reserve_restore(c->t, v);
	}
	if (r)
		return r;
	*ret = thin_named_json(c->t, name);
	return 0;
}
