/* SPDX-License-Identifier: BSD-3-Clause */
/* The pool as a whole: status, grow, dump. */
#include "service/backup.h"
#include "service/dump.h"
#include "service/dm_status.h"
#include "service/extend.h"
#include "service/requests.h"
#include "service/still.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* --- status -------------------------------------------------------------- */

static struct json_object *space_json(uint64_t used, uint64_t total, uint64_t low_water,
				      uint64_t step, uint64_t unit)
{
	struct json_object *o = json_object_new_object();

	thin_json_add(o, "used_bytes", thin_json_number(used * unit));
	thin_json_add(o, "total_bytes", thin_json_number(total * unit));
	thin_json_add(o, "low_water_bytes", thin_json_number(low_water * unit));
	thin_json_add(o, "auto_extend_bytes", thin_json_number(step));
	return o;
}

/* The data may be free, and yet kept for some volume. */
static struct json_object *data_json(struct thinbd *t, const struct thin_pool_status *s)
{
	struct json_object *o =
		space_json(s->metadata.data_allocated, s->metadata.nr_data_blocks,
			   s->low_water_data, thin_extend_data_step(t, s), s->block_size);

	thin_json_add(o, "reserved_bytes",
		      thin_json_number(s->data_kept * s->block_size));
	return o;
}

static size_t nr_volumes(struct thinbd *t)
{
	_cleanup_volume_list struct thin_volume_list list = {0};

	return thin_registry_list(t->registry, &list) ? 0 : list.nr;
}

/* A pool that is only looked at is not degraded by that. */
static void pool_status(struct thinbd *t, struct thin_pool_status *ret)
{
	thin_pool_status(t->pool, ret);
	if (ret->mode == THIN_MODE_READ_ONLY && !atomic_load(&t->served) &&
	    !ret->metadata.needs_check)
		ret->mode = THIN_MODE_WRITE;
}

static struct json_object *status_json(struct thinbd *t)
{
	struct json_object *o = json_object_new_object();
	struct thin_pool_status s;

	pool_status(t, &s);
	thin_json_add(o, "pool", thin_json_string(t->dir));
	thin_json_add(o, "uuid", thin_json_string(t->conf.uuid));
	thin_json_add(o, "mode", thin_json_string(thin_pool_mode_name(s.mode)));
	thin_json_add(o, "served", json_object_new_boolean(atomic_load(&t->served)));
	thin_json_add(o, "block_size", thin_json_number(s.block_size));
	thin_json_add(o, "transaction_id", thin_json_number(s.metadata.transaction_id));
	thin_json_add(o, "needs_check", json_object_new_boolean(s.metadata.needs_check));
	thin_json_add(o, "data", data_json(t, &s));
	thin_json_add(o, "metadata",
		      space_json(s.metadata.metadata_allocated,
				 s.metadata.nr_metadata_blocks, s.low_water_metadata,
				 thin_extend_metadata_step(t, &s), THIN_METADATA_BLOCK));
	thin_json_add(o, "freeing_bytes", thin_json_number(thin_buried_bytes(t)));
	thin_json_add(o, "metadata_backup", thin_backups_json(t->backups));
	thin_json_add(o, "volumes", thin_json_number(nr_volumes(t)));
	thin_json_add(o, "clients", thin_json_number(thin_clients_of(t, THIN_NO_DEVICE)));
	return o;
}

int thin_do_status(struct thin_call *c, struct json_object **ret, struct thin_error *e)
{
	char line[THIN_DM_STATUS];
	struct thin_pool_status s;

	(void)e;
	if (!thin_arg_flag(c->args, "dm")) {
		*ret = status_json(c->t);
		return 0;
	}
	/* As dm-thin does; where it fails, the line says so. */
	if (!c->t->read_only && thin_pool_commit(c->t->pool))
		thin_service_tell(c->t, THINBD_EVENT_NOTE, "status: the commit failed");
	pool_status(c->t, &s);
	*ret = thin_json_string(thin_dm_status(&s, line));
	return 0;
}

/* --- init, where there is a pool already ---------------------------------- */

int thin_do_init_again(struct thin_call *c, struct json_object **ret,
		       struct thin_error *e)
{
	struct thin_pool_status s;
	struct json_object *o;

	if (!thin_arg_flag(c->args, "if_not_exists"))
		return thin_error_set(
			e, -EEXIST, "%s: there is a pool already, and in use", c->t->dir);
	thin_pool_status(c->t->pool, &s);
	o = json_object_new_object();
	thin_json_add(o, "pool", thin_json_string(c->t->dir));
	thin_json_add(o, "uuid", thin_json_string(c->t->conf.uuid));
	thin_json_add(o, "block_size", thin_json_number(s.block_size));
	thin_json_add(o, "data_bytes",
		      thin_json_number(s.metadata.nr_data_blocks * s.block_size));
	thin_json_add(
		o, "metadata_bytes",
		thin_json_number(s.metadata.nr_metadata_blocks * THIN_METADATA_BLOCK));
	thin_json_add(o, "existed", json_object_new_boolean(true));
	thin_json_add(o, "notes", json_object_new_array());
	*ret = o;
	return 0;
}

/* --- grow ---------------------------------------------------------------- */

int thin_do_grow(struct thin_call *c, struct json_object **ret, struct thin_error *e)
{
	struct thin_error why = {0};
	uint64_t data, metadata;
	int r = thin_arg_size(c->args, "data_size", &data, &why);

	if (!r)
		r = thin_arg_size(c->args, "metadata_size", &metadata, &why);
	if (r)
		return thin_error_set(e, r, "%s: %s", c->t->dir, why.text);
	if (!data && !metadata)
		return thin_error_set(
			e, -EINVAL,
			"%s: say what is to grow: --data-size, --metadata-size",
			c->t->dir);
	if (metadata > THIN_MAX_METADATA_BLOCKS * THIN_METADATA_BLOCK)
		return thin_error_set(e, -ERANGE,
				      "%s: metadata can not be larger than %llu bytes",
				      c->t->dir,
				      (unsigned long long)(THIN_MAX_METADATA_BLOCKS *
							   THIN_METADATA_BLOCK));
	r = thin_grow(c->t, data, metadata);
	switch (r) {
	case 0:
		*ret = status_json(c->t);
		return 0;
	case -EINVAL:
		return thin_error_set(e, r,
				      "%s: a pool can only grow; it is larger than that",
				      c->t->dir);
	case -ENOTSUP:
	case -ENOSPC:
		return thin_error_set(
			e, r, "%s: the device is not that large; make it larger first",
			c->t->dir);
	default:
		return thin_error_set(e, r, "%s: can not grow: %s", c->t->dir,
				      thin_strerror(r));
	}
}

/* --- dump ---------------------------------------------------------------- */

/*
 * While old metadata are kept nobody may wait for a reader: what is served is
 * written to a file without a name first.
 */
static int spool_item(void *ctx, const char *json, size_t len)
{
	return fwrite(json, 1, len, ctx) == len && fputc('\n', ctx) == '\n' ? 0 : -EIO;
}

static int unspool(FILE *spool, struct thin_items *items)
{
	_cleanup_free char *line = NULL;
	size_t size = 0;
	ssize_t len;

	rewind(spool);
	while ((len = getline(&line, &size, spool)) > 0) {
		line[--len] = '\0';
		int r = thin_items_add(items, line, (size_t)len);
		if (r)
			return r;
	}
	return ferror(spool) ? -EIO : 0;
}

struct served_dump {
	FILE *spool;
	enum thin_dump_format format;
	const char *dir;
	struct thin_error *e;
};

static void drop_spool(struct served_dump *d)
{
	if (d->spool)
		(void)fclose(thin_steal(d->spool)); /* nobody wants what is in it */
}

/* A look that is repeated begins anew. */
static int spool_dump(void *ctx, struct thin_storage *metadata)
{
	struct served_dump *d = ctx;
	struct thinbd_observer to_spool = {.item = spool_item};
	struct thin_items items;
	int r;

	drop_spool(d);
	d->spool = tmpfile();
	if (!d->spool)
		return thin_error_set(d->e, -errno,
				      "%s: no place for a copy of the dump: %s", d->dir,
				      thin_strerror(errno));
	*d->e = (struct thin_error){0};
	to_spool.ctx = d->spool;
	r = thin_items_init(&items, true, &to_spool);
	if (r)
		return r;
	r = thin_dump(metadata, false, d->format, &items, d->e);
	thin_items_fini(&items);
	return r;
}

static int dump_served(struct thin_call *c, enum thin_dump_format format,
		       struct thin_error *e)
{
	struct served_dump d = {.format = format, .dir = c->t->dir, .e = e};
	struct thin_still still = {.look = spool_dump, .ctx = &d};
	int r = thin_still_look(c->t, &still);

	if (!r)
		r = unspool(d.spool, c->items);
	drop_spool(&d);
	return r;
}

int thin_do_dump(struct thin_call *c, struct json_object **ret, struct thin_error *e)
{
	const char *text = thin_arg_text(c->args, "format");
	enum thin_dump_format format =
		text && !strcmp(text, "json") ? THIN_DUMP_JSON : THIN_DUMP_THIN;
	int r;

	(void)ret;
	if (atomic_load(&c->t->served)) {
		r = thin_pool_commit(c->t->pool);
		if (!r || r == -EROFS)
			r = dump_served(c, format, e);
	} else {
		r = thin_dump(thin_pool_metadata_storage(c->t->pool), false, format,
			      c->items, e);
	}
	return r ? thin_error_default(e, r, "%s: %s", c->t->dir, thin_strerror(r)) : 0;
}
