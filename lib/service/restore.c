/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * restore-metadata: back to a backup of the metadata.
 *
 * The data go on meanwhile.  A block that was overwritten in place since then
 * has its new content; one that was freed may have been given to another
 * volume, whose bytes an old mapping would show (I5).  So a mapping comes back
 * only if a volume that had it then still has it, or if its block is in no use
 * at all; and a device only if its number was not given to another volume.
 * All the rest is told, and read as the origin or as zeros.
 */
#include "service/restore.h"

#include "audit/audit.h"
#include "service/backup.h"
#include "service/backup_file.h"
#include "service/closed_pool.h"
#include "service/devices.h"
#include "service/losses.h"
#include "service/present.h"
#include "service/repair.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

struct restore {
	struct thin_losses losses; /* first: it is told */
	struct thin_closed_pool p;
	char *path; /* of the backup */
	int64_t made;
	char *image_path;
	struct thin_storage *image; /* unpacked */
	struct thin_present *present;
	uint64_t *left_out;
	size_t nr_left_out, room_left_out;
	struct thin_devices then;
	struct json_object *only_then, *only_now;
	uint64_t free_blocks; /* mappings that come back to what is in no use */
	char *kept;
	bool restored;
};

/* --- the backup ------------------------------------------------------------------- */

static int choose(struct restore *rs, const char *name, struct thin_error *e)
{
	struct thin_backup_list l = {0};
	char latest[THIN_BACKUP_NAME];
	struct stat st;
	int r = 0;

	if (!name) {
		r = thin_backup_list_read(&l, rs->p.dir);
		if (!r && !l.nr)
			r = thin_error_set(
				e, -ENOENT,
				"%s: there are no backups of the metadata; "
				"keep_metadata_backups in pool.conf makes some",
				rs->p.dir);
		if (!r)
			thin_backup_name(l.at[l.nr - 1], latest);
		name = latest;
	}
	if (!r && asprintf(&rs->path, "%s%s%s", strchr(name, '/') ? "" : rs->p.dir,
			   strchr(name, '/') ? "" : "/" THIN_BACKUPS "/", name) < 0) {
		rs->path = NULL;
		r = -ENOMEM;
	}
	thin_backup_list_fini(&l);
	if (!r && stat(rs->path, &st) < 0)
		r = thin_error_set(e, -errno, "%s: %s", rs->path, strerror(errno));
	if (!r && !thin_backup_time(strrchr(rs->path, '/') + 1, &rs->made))
		rs->made = (int64_t)st.st_mtime; /* it was given another name */
	return r;
}

static int unpack(struct restore *rs, struct thin_error *e)
{
	_cleanup_storage struct thin_storage *from = NULL;
	struct thin_audit_summary sums;
	int r;

	if (asprintf(&rs->image_path, "%s/.tmp-restore", rs->p.dir) < 0) {
		rs->image_path = NULL;
		return -ENOMEM;
	}
	(void)unlink(rs->image_path); /* left by one that was interrupted */
	r = thin_storage_open_file(rs->path, THIN_STORAGE_READONLY, &from, e);
	if (!r)
		r = thin_storage_open_file(rs->image_path,
					   THIN_STORAGE_CREATE | THIN_STORAGE_NEW,
					   &rs->image, e);
	if (!r)
		r = thin_backup_unpack(from, rs->image, NULL);
	if (!r)
		r = thin_audit(rs->image, NULL, NULL, NULL, &sums, e);
	if (r)
		return thin_error_set(e, r, "%s: is no backup that can be used: %s",
				      rs->path, thin_strerror(r));
	if (sums.fatal + sums.nonfatal)
		return thin_error_set(e, -EILSEQ, "%s: is damaged; try an older one",
				      rs->path);
	return 0;
}

/* --- then and now --------------------------------------------------------------------
 */

/* The facts of a device; -ENOENT. */
struct facts {
	struct thin_walk_device d;
};

static int note_facts(void *ctx, const struct thin_walk_device *d)
{
	((struct facts *)ctx)->d = *d;
	return 0;
}

static int facts_of(struct thin_storage *s, uint64_t device, struct facts *ret)
{
	const struct thin_walk_params which = {.device = device};
	const struct thin_walk_fns fns = {.device = note_facts};

	return thin_audit_walk(s, &which, &fns, ret, NULL);
}

static int leave_out(struct restore *rs, uint64_t device)
{
	if (rs->nr_left_out == rs->room_left_out) {
		size_t room = 2 * rs->room_left_out + 16;
		uint64_t *grown = reallocarray(rs->left_out, room, sizeof(*grown));

		if (!grown)
			return -ENOMEM;
		rs->left_out = grown;
		rs->room_left_out = room;
	}
	rs->left_out[rs->nr_left_out++] = device;
	return 0;
}

/* Was the number given to another volume since? */
static bool is_another(struct restore *rs, uint64_t device,
		       const struct thin_volume_conf *conf, bool *ret_there)
{
	struct facts then, now;

	*ret_there = !facts_of(rs->p.metadata, device, &now);
	if (conf && conf->created >= rs->made)
		return true;
	if (!*ret_there || facts_of(rs->image, device, &then))
		return false;
	return then.d.transaction_id != now.d.transaction_id ||
	       then.d.creation_time != now.d.creation_time;
}

static void add_name(struct json_object *array, const char *name, uint64_t device)
{
	struct json_object *o = json_object_new_object();

	thin_json_add(o, "volume", thin_json_string(name));
	thin_json_add(o, "device", thin_json_number(device));
	(void)json_object_array_add(array, o);
}

static int compare_device(struct restore *rs, uint64_t device)
{
	_cleanup_volume_conf const struct thin_volume_conf *conf = NULL;
	bool there = false;
	int r = 0;

	if (rs->p.registry &&
	    thin_registry_find_device(rs->p.registry, (uint32_t)device, &conf))
		conf = NULL;
	if (is_another(rs, device, conf, &there)) {
		thin_losses_note(&rs->losses, conf ? conf->name : NULL,
				 "device %" PRIu64
				 " of the backup does not come back: the "
				 "number was given to another volume since%s%s",
				 device, conf ? ", " : "", conf ? conf->name : "");
		return leave_out(rs, device);
	}
	if (!conf)
		add_name(rs->only_then, NULL, device);
	if (rs->present && there)
		r = thin_present_compare(rs->present, rs->p.metadata, rs->image, device);
	if (r == -EILSEQ || r == -ENOTBLK || r == -EIO)
		thin_losses_note(&rs->losses, conf ? conf->name : NULL,
				 "device %" PRIu64
				 ": its present metadata are damaged, so "
				 "not all that comes back of it could be compared",
				 device);
	else if (r)
		return r;
	return 0;
}

static bool comes_back(const struct restore *rs, uint64_t device)
{
	for (size_t i = 0; i < rs->nr_left_out; i++)
		if (rs->left_out[i] == device)
			return false;
	return thin_devices_has(&rs->then, device);
}

static int compare_registry(struct restore *rs)
{
	_cleanup_volume_list struct thin_volume_list list = {0};
	int r = rs->p.registry ? thin_registry_list(rs->p.registry, &list) : 0;

	for (size_t i = 0; i < list.nr && !r; i++)
		if (!comes_back(rs, list.at[i]->device)) {
			add_name(rs->only_now, list.at[i]->name, list.at[i]->device);
			thin_losses_note(&rs->losses, list.at[i]->name,
					 "volume %s is not in the backup: all of it is "
					 "lost, and `thinbd delete` takes its name away",
					 list.at[i]->name);
		}
	return r;
}

static int compare(struct restore *rs, struct thin_error *e)
{
	struct thin_error why = {""};
	int r = thin_present_read(rs->p.metadata, rs->p.nr_data_blocks, &rs->present,
				  &why);

	if (r == -ENOMEM)
		return r;
	if (r)
		thin_losses_note(&rs->losses, NULL,
				 "the present metadata can not be read (%s): where a "
				 "block was freed since and given to another volume, "
				 "one volume shows the other's bytes, and which can not "
				 "be known",
				 why.text);
	r = thin_devices_read(&rs->then, rs->image, e);
	for (size_t i = 0; i < rs->then.nr && !r; i++)
		r = compare_device(rs, rs->then.ids[i]);
	return r ? r : compare_registry(rs);
}

/* --- going back ------------------------------------------------------------------------
 */

static bool may_come_back(void *ctx, uint64_t vblock, uint64_t dblock, uint32_t time)
{
	struct restore *rs = ctx;
	enum thin_since since = THIN_SINCE_SAME;

	(void)vblock;
	(void)time;
	if (rs->present)
		since = thin_present_since(rs->present, dblock);
	rs->free_blocks += since == THIN_SINCE_FREE;
	return since != THIN_SINCE_OTHER;
}

static const struct thin_repair_fns restore_fns = {
	.lost = thin_losses_lost,
	.remark = thin_losses_remark,
	.keep = may_come_back,
};

static int look_first(struct restore *rs, struct thin_error *e)
{
	const struct thin_repair_params params = {
		.from = rs->image,
		.nr_data_blocks = rs->p.nr_data_blocks,
		.left_out = rs->left_out,
		.nr_left_out = rs->nr_left_out,
	};
	struct thin_repair_result result;
	int r = thin_repair(&params, &restore_fns, rs, &result, e);

	if (!r && rs->free_blocks)
		thin_losses_note(&rs->losses, NULL,
				 "some of the blocks that come back are in no use now: "
				 "they may be zeros, or have the bytes of another volume "
				 "that had them since");
	return r;
}

static int go_back(struct restore *rs, struct thin_error *e)
{
	const struct thin_repair_fns quiet = {.keep = may_come_back};
	struct thin_repair_params params = {
		.left_out = rs->left_out,
		.nr_left_out = rs->nr_left_out,
	};
	struct thin_renewal n;
	int r = thin_renewal_init(&n, rs->p.dir, &rs->p.conf, thin_steal(rs->p.metadata),
				  rs->p.nr_data_blocks, e);

	if (!r)
		r = thin_renewal_repair(&n, rs->image, &params, &quiet, rs, "replaced",
					&rs->kept, e);
	thin_renewal_fini(&n);
	rs->restored = !r;
	return r;
}

static struct json_object *result_json(struct restore *rs)
{
	struct json_object *o = json_object_new_object();

	thin_json_add(o, "restored", json_object_new_boolean(rs->restored));
	thin_json_add(o, "backup", thin_json_string(rs->path));
	thin_json_add(o, "made", thin_time_json(rs->made));
	thin_json_add(o, "kept", thin_json_string(rs->kept));
	thin_json_add(o, "only_in_backup", json_object_get(rs->only_then));
	thin_json_add(o, "only_now", json_object_get(rs->only_now));
	thin_losses_json(&rs->losses, o);
	return o;
}

static int restore(struct restore *rs, const struct thin_args *args,
		   struct json_object **ret, struct thin_error *e)
{
	int r = choose(rs, thin_arg_text(args, "backup"), e);

	if (!r)
		r = unpack(rs, e);
	if (r)
		return r;
	rs->losses.registry = rs->p.registry;
	rs->losses.block_size = thin_block_size(rs->image);
	r = compare(rs, e);
	if (!r)
		r = look_first(rs, e);
	if (!r && thin_arg_flag(args, "force"))
		r = go_back(rs, e);
	if (!r)
		*ret = result_json(rs);
	return r;
}

static void restore_fini(struct restore *rs)
{
	thin_losses_fini(&rs->losses);
	thin_storage_close(rs->image);
	if (rs->image_path)
		(void)unlink(rs->image_path); /* ours, and of no use any more */
	thin_present_free(rs->present);
	thin_devices_fini(&rs->then);
	json_object_put(rs->only_then);
	json_object_put(rs->only_now);
	thin_closed_pool_close(&rs->p);
	free(rs->left_out);
	free(rs->image_path);
	free(rs->path);
	free(rs->kept);
}

/* --- the verb -------------------------------------------------------------------------
 */

static int list(const char *dir, struct json_object **ret, struct thin_error *e)
{
	struct json_object *array = json_object_new_array();
	struct thin_backup_list l = {0};
	char name[THIN_BACKUP_NAME];
	int64_t now = (int64_t)time(NULL);
	int r = thin_backup_list_read(&l, dir);

	for (size_t i = l.nr; i > 0 && !r; i--) {
		struct json_object *o = json_object_new_object();

		thin_backup_name(l.at[i - 1], name);
		thin_json_add(o, "name", thin_json_string(name));
		thin_json_add(o, "made", thin_time_json(l.at[i - 1]));
		thin_json_add(o, "age_seconds", json_object_new_int64(now - l.at[i - 1]));
		(void)json_object_array_add(array, o);
	}
	thin_backup_list_fini(&l);
	if (r) {
		json_object_put(array);
		return thin_error_set(e, r, "%s/" THIN_BACKUPS ": %s", dir,
				      thin_strerror(r));
	}
	*ret = json_object_new_object();
	thin_json_add(*ret, "backups", array);
	return 0;
}

int thin_do_restore(struct thin_call *c, struct json_object **ret, struct thin_error *e)
{
	if (thin_arg_flag(c->args, "list"))
		return list(c->t->dir, ret, e);
	return thin_error_set(
		e, -EBUSY, "%s: is being served; stop the server to go back to a backup",
		c->t->dir);
}

int thin_restore_offline(const char *dir, const struct thin_args *args,
			 struct json_object **ret, struct thin_error *e)
{
	struct restore rs = {
		.only_then = json_object_new_array(),
		.only_now = json_object_new_array(),
	};
	int r;

	if (thin_arg_flag(args, "list"))
		r = list(dir, ret, e);
	else
		r = thin_losses_init(&rs.losses, NULL, 0);
	if (!r && !thin_arg_flag(args, "list"))
		r = thin_closed_pool_open(&rs.p, dir, "thinbd restore-metadata", e);
	if (!r && !thin_arg_flag(args, "list"))
		r = restore(&rs, args, ret, e);
	restore_fini(&rs);
	return r ? thin_error_default(e, r, "%s: %s", dir, thin_strerror(r)) : 0;
}
