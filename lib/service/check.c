/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * check: the audit of the metadata, and a comparison of what the registry
 * says with what is there.
 *
 * Of a pool that nobody has open, nothing is opened but the storages and the
 * registry, read-only: a pool that can not be opened is what this is for.
 * A repair first looks what it would cost, and where that is data of volumes
 * it is only done when that is asked for.
 * Of a served one it is the last commit that is looked at, while it is in use.
 */
#include "service/check.h"

#include "audit/audit.h"
#include "service/closed_pool.h"
#include "service/devices.h"
#include "service/losses.h"
#include "service/repair.h"
#include "service/still.h"
#include "service/verdict.h"

#include <errno.h>
#include <stdio.h>

/* --- registry against metadata ------------------------------------------- */

static void check_volume(struct thin_verdict *v, const struct thin_volume_conf *conf,
			 const struct thin_devices *devices)
{
	if (conf->problem)
		thin_verdict_add(v, conf->name, "%s", conf->problem);
	else if (devices && !thin_devices_has(devices, conf->device))
		thin_verdict_add(v, conf->name,
				 "volume %s: its device %u is not in the metadata",
				 conf->name, conf->device);
}

/* Where the devices can not be read, the audit has told so. */
static void check_volumes(struct thin_verdict *v, const struct thin_volume_list *list,
			  struct thin_storage *metadata)
{
	struct thin_devices devices = {0};
	bool known = !thin_devices_read(&devices, metadata, NULL);

	for (size_t i = 0; i < list->nr; i++)
		check_volume(v, list->at[i], known ? &devices : NULL);
	thin_devices_fini(&devices);
}

/* @list: the volumes that belong to these metadata. */
static int judge(struct thin_verdict *v, const struct thin_volume_list *list,
		 struct thin_storage *metadata, uint64_t nr_data_blocks,
		 const struct thinbd_observer *observer, struct thin_error *e)
{
	int r = thin_verdict_audit(v, metadata, nr_data_blocks, observer, e);

	if (!r)
		check_volumes(v, list, metadata);
	return r;
}

/* --- answers -------------------------------------------------------------- */

/* What was done, or why it was not. */
struct outcome {
	bool repaired;
	bool would_lose; /* and so nothing was done */
	char *kept;	 /* where the old metadata are */
	struct thin_losses losses;
};

static void add_outcome(const struct outcome *o, struct json_object *json)
{
	thin_json_add(json, "repaired", json_object_new_boolean(o->repaired));
	thin_json_add(json, "kept", thin_json_string(o->kept));
	thin_losses_json(&o->losses, json);
}

/* --- a pool that is open ------------------------------------------------- */

/* The same as where nobody has it open, with nothing repaired. */
static int served_json(struct thin_verdict *v, struct json_object **ret)
{
	struct outcome o = {0};
	int r = thin_losses_init(&o.losses, NULL, 0);

	if (r)
		return r;
	*ret = thin_verdict_json(v);
	add_outcome(&o, *ret);
	thin_losses_fini(&o.losses);
	return 0;
}

struct served {
	struct thin_call *c;
	struct thin_volume_list volumes;
	uint64_t nr_data_blocks;
	struct json_object **ret;
	struct thin_error *e;
};

static int take_served(void *ctx)
{
	struct thin_pool_status status;
	struct served *s = ctx;

	thin_pool_status(s->c->t->pool, &status);
	s->nr_data_blocks = status.metadata.nr_data_blocks;
	thin_volume_list_fini(&s->volumes);
	s->volumes = (struct thin_volume_list){0};
	return thin_registry_list(s->c->t->registry, &s->volumes);
}

static int look_at_served(void *ctx, struct thin_storage *metadata)
{
	struct served *s = ctx;
	struct thin_verdict v;
	int r = thin_verdict_init(&v, s->c->t->registry);

	if (r)
		return r;
	json_object_put(thin_steal(*s->ret));
	*s->e = (struct thin_error){0};
	r = judge(&v, &s->volumes, metadata, s->nr_data_blocks, s->c->observer, s->e);
	if (!r)
		r = served_json(&v, s->ret);
	thin_verdict_fini(&v);
	return r;
}

/* What it would force is a repair. */
static int check_args(const struct thin_args *args, struct thin_error *e)
{
	if (thin_arg_flag(args, "force") && !thin_arg_flag(args, "repair"))
		return thin_error_set(e, -EINVAL, "check: --force goes with --repair");
	return 0;
}

int thin_do_check(struct thin_call *c, struct json_object **ret, struct thin_error *e)
{
	struct served s = {.c = c, .ret = ret, .e = e};
	struct thin_still still = {
		.taken = take_served,
		.look = look_at_served,
		.ctx = &s,
	};
	int r = check_args(c->args, e);

	if (r)
		return r;
	if (thin_arg_flag(c->args, "repair"))
		return thin_error_set(e, -EBUSY,
				      "%s: is being served; stop the server to repair it",
				      c->t->dir);
	r = thin_still_look(c->t, &still);
	thin_volume_list_fini(&s.volumes);
	return r ? thin_error_default(e, r, "%s: %s", c->t->dir, thin_strerror(r)) : 0;
}

/* --- a pool that nobody has open ------------------------------------------ */

static int judge_closed(struct thin_closed_pool *p,
			const struct thinbd_observer *observer, struct thin_verdict *v,
			struct thin_error *e)
{
	_cleanup_volume_list struct thin_volume_list list = {0};
	int r = p->registry ? thin_registry_list(p->registry, &list) : 0;

	if (!r)
		r = judge(v, &list, p->metadata, p->nr_data_blocks, observer, e);
	if (!r && !p->registry)
		thin_verdict_add(v, NULL, "the registry of volumes: %s",
				 p->no_registry.text);
	return r;
}

static const struct thin_repair_fns repair_fns = {
	.lost = thin_losses_lost,
	.remark = thin_losses_remark,
};

/* Nothing is changed by a look. */
static int look_first(struct thin_closed_pool *p, struct outcome *o, struct thin_error *e)
{
	struct thin_repair_params params = {
		.from = p->metadata,
		.nr_data_blocks = p->nr_data_blocks,
	};
	struct thin_repair_result result;
	int r = thin_repair(&params, &repair_fns, &o->losses, &result, e);

	return r ? thin_error_set(e, r,
				  "%s; nothing was changed: `thinbd restore-metadata "
				  "--list` shows the backups that there are",
				  e->text)
		 : 0;
}

static int repair_closed(struct thin_closed_pool *p, const struct thin_verdict *v,
			 bool force, struct outcome *o, struct thin_error *e)
{
	const struct thin_repair_fns quiet = {0};
	struct thin_repair_params params = {0};
	struct thin_renewal n;
	int r = v->damage ? look_first(p, o, e) : 0;

	o->would_lose = !r && o->losses.nr && !force;
	if (r || o->would_lose)
		return r;
	r = thin_renewal_init(&n, p->dir, &p->conf, thin_steal(p->metadata),
			      p->nr_data_blocks, e);
	if (!r && v->damage)
		r = thin_renewal_repair(&n, n.metadata, &params, &quiet, NULL, "damaged",
					&o->kept, e);
	else if (!r)
		r = thin_renewal_clear_mark(&n, e);
	o->repaired = !r;
	thin_renewal_fini(&n);
	return r ? thin_error_default(e, r, "%s: %s", p->dir, thin_strerror(r)) : 0;
}

/* One look; and, after a repair, another one. */
static int check_once(const char *dir, const struct thin_args *args,
		      const struct thinbd_observer *observer, struct outcome *o,
		      struct json_object **ret, struct thin_error *e)
{
	bool repair = thin_arg_flag(args, "repair") && !o->repaired;
	struct thin_closed_pool p = {0};
	struct thin_verdict v = {0};
	int r = thin_closed_pool_open(&p, dir, "thinbd check", e);

	if (!r)
		r = thin_verdict_init(&v, p.registry);
	if (!r)
		r = judge_closed(&p, observer, &v, e);
	o->losses.registry = p.registry;
	o->losses.block_size = p.metadata ? thin_block_size(p.metadata) : 0;
	if (!r && repair && (v.damage || v.needs_check))
		r = repair_closed(&p, &v, thin_arg_flag(args, "force"), o, e);
	if (!r)
		*ret = thin_verdict_json(&v);
	thin_verdict_fini(&v);
	thin_closed_pool_close(&p);
	return r;
}

int thin_check_offline(const char *dir, const struct thin_args *args,
		       const struct thinbd_observer *observer, struct json_object **ret,
		       struct thin_error *e)
{
	struct outcome o = {0};
	int r = check_args(args, e);

	if (!r)
		r = thin_losses_init(&o.losses, NULL, 0);
	if (r)
		return r;
	r = check_once(dir, args, observer, &o, ret, e);
	if (!r && o.repaired) {
		json_object_put(thin_steal(*ret));
		r = check_once(dir, args, observer, &o, ret, e);
	}
	if (!r)
		add_outcome(&o, *ret);
	thin_losses_fini(&o.losses);
	free(o.kept);
	return r ? thin_error_default(e, r, "%s: %s", dir, thin_strerror(r)) : 0;
}
