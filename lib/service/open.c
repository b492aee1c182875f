/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * The life of an open pool.
 *
 * Opening goes from the outside to the inside: the folder's lock, pool.conf,
 * the storages with locks of their own, the metadata, the registry, which
 * asks the metadata what became of an interrupted change; then what a crash
 * left half done is finished.  No threads before thinbd_start(): a server
 * forks in between.
 */
#include "service/backup.h"
#include "service/extend.h"
#include "service/io_counters.h"
#include "service/reserves.h"
#include "service/flatten.h"
#include "service/look.h"
#include "service/service.h"
#include "service/settler.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define VOLUMES "volumes"

/* --- telling ------------------------------------------------------------- */

void thin_service_tell(struct thinbd *t, enum thinbd_event event, const char *text)
{
	if (t->event)
		t->event(t->event_ctx, event, text);
}

static void on_report(void *ctx, const char *text)
{
	thin_service_tell(ctx, THINBD_EVENT_NOTE, text);
}

static void on_pool_event(void *ctx, enum thin_pool_event event, const char *detail)
{
	static const enum thinbd_event events[] = {
		[THIN_EVENT_LOW_DATA] = THINBD_EVENT_LOW_DATA,
		[THIN_EVENT_LOW_METADATA] = THINBD_EVENT_LOW_METADATA,
		[THIN_EVENT_MODE] = THINBD_EVENT_MODE,
		[THIN_EVENT_ORIGIN_CHANGED] = THINBD_EVENT_ORIGIN_CHANGED,
	};
	struct thinbd *t = ctx;

	thin_service_tell(t, events[event], detail);
	if (event == THIN_EVENT_LOW_DATA || event == THIN_EVENT_LOW_METADATA ||
	    event == THIN_EVENT_MODE)
		thin_extender_kick(t->extender);
}

void thin_service_attach(struct thinbd *t, const struct thin_attachment *a)
{
	t->attachment = *a;
	atomic_store(&t->served, true);
}

const char *thin_service_dir(const struct thinbd *t)
{
	return t->dir;
}

/* --- the pool ------------------------------------------------------------ */

/* What opening the metadata said, with what to do about it. */
static int explain_metadata(const char *where, int err, struct thin_error *e)
{
	struct thin_error why = {0};

	if (e)
		why = *e;
	switch (err) {
	case -EILSEQ:
	case -ENOTBLK:
		return thin_error_set(
			e, err,
			"%s: the metadata is damaged (%s); see what `thinbd check` "
			"says; nothing was written",
			where, why.text);
	case -EMEDIUMTYPE:
		return thin_error_set(e, err, "%s: no dm-thin metadata there (%s)", where,
				      why.text);
	default:
		return thin_error_set(e, err, "%s: %s", where,
				      why.text[0] ? why.text : thin_strerror(err));
	}
}

/* Takes the storages in @params, also where it fails. */
static int open_pool(struct thinbd *t, const char *where, struct thin_pool_params *params,
		     struct thin_error *e)
{
	struct thin_pool_status status;

	params->read_only = t->read_only;
	params->event = on_pool_event;
	params->event_ctx = t;
	int r = thin_pool_open(params, &t->pool, e);
	if (r) {
		thin_storage_close(params->metadata);
		thin_storage_close(params->data);
		return explain_metadata(where, r, e);
	}
	thin_pool_status(t->pool, &status);
	t->block_size = status.block_size;
	if (status.metadata.needs_check && !t->read_only) {
		char text[THIN_ERROR_TEXT];
		t->read_only = true;
		t->why_read_only =
			"the metadata needs a check: run `thinbd check --repair`";
		snprintf(text, sizeof(text), "%s: opened read-only: %s", where,
			 t->why_read_only);
		thin_service_tell(t, THINBD_EVENT_MODE, text);
	}
	return 0;
}

static int device_exists(void *ctx, uint32_t device, bool *ret)
{
	struct thinbd *t = ctx;
	struct thin_device_info info;
	int r = thin_pool_next_device(t->pool, device, &info);

	if (r && r != -ENOENT)
		return r;
	*ret = !r && info.id == device;
	return 0;
}

static void on_finished(void *ctx)
{
	struct thinbd *t = ctx;

	thin_settler_kick(t->settler);
}

static int open_registry(struct thinbd *t, struct thin_error *e)
{
	_cleanup_free char *path = NULL;

	if (asprintf(&path, "%s/" VOLUMES, t->dir) < 0) {
		path = NULL;
		return -ENOMEM;
	}
	int r = thin_files_open(path, t->read_only ? 0 : THIN_FILES_CREATE,
				&t->volume_files, e);
	if (r)
		return r;
	struct thin_registry_params params = {
		.files = t->volume_files,
		.readonly = t->read_only,
		.device_exists = device_exists,
		.report = on_report,
		.finished = on_finished,
		.ctx = t,
	};
	return thin_registry_open(&params, &t->registry, e);
}

/* --- a folder ------------------------------------------------------------ */

static int take_lock(struct thinbd *t, const char *command, struct thin_error *e)
{
	int r = thin_pool_lock_take(t->dir, command ? command : "thinbd", &t->pool_lock,
				    e);

	/* Where nothing can be written, nobody else writes either. */
	return t->read_only && r == -EROFS ? 0 : r;
}

static int open_folder(struct thinbd *t, const struct thinbd_params *p, bool *ret_locked,
		       struct thin_error *e)
{
	struct thin_pool_params params = {0};
	int r;

	t->dir = realpath(p->dir, NULL);
	if (!t->dir)
		return thin_error_set(e, -errno, "%s: %s; `thinbd init` makes a pool",
				      p->dir, thin_strerror(errno));
	r = thin_files_open(t->dir, 0, &t->files, e);
	if (!r)
		r = thin_pool_conf_read(t->files, &t->conf, e);
	if (!r) {
		r = take_lock(t, p->command, e);
		*ret_locked = r == -EBUSY;
	}
	if (!r)
		r = thin_open_storages(t->dir, &t->conf, t->read_only, &params.metadata,
				       &params.data, e);
	if (r)
		return r;
	thin_pool_policy(&t->conf, &params);
	thin_pool_low_water(&t->conf, &params);
	r = open_pool(t, t->dir, &params, e);
	if (!r)
		r = open_registry(t, e);
	if (!r)
		r = thin_reserves_tell(t, e);
	if (!r && !t->read_only)
		r = thin_recover(t, e);
	if (!r && !t->read_only)
		r = thin_burier_new(t, &t->burier);
	if (!r && !t->read_only)
		r = thin_settler_new(t, &t->settler);
	if (!r && !t->read_only)
		r = thin_extender_new(t, &t->extender);
	if (!r && !t->read_only)
		r = thin_backups_new(t, &t->backups);
	return r;
}

/* --- table style --------------------------------------------------------- */

/* What pool.conf would say of such a pool. */
static int table_conf(struct thinbd *t, const struct thinbd_params *p)
{
	int r = thin_pool_conf_init(&t->conf);

	if (!r)
		r = thin_string_set(&t->conf.metadata, p->metadata);
	return r ? r : thin_string_set(&t->conf.data, p->data);
}

static int table_origin(struct thinbd *t, const char *origin, struct thin_error *e)
{
	struct thin_looks looks = {0};
	int r;

	if (thin_origin_volume(origin))
		return thin_error_set(e, -EINVAL,
				      "%s: there are no names without a pool folder",
				      origin);
	do
		r = thin_origin_record(t, origin, &looks, t->the_volume, e);
	while (r == -EAGAIN && thin_looks_go(&looks));
	thin_looks_fini(&looks);
	return r;
}

/* Its only volume: a record that no file holds. */
static int table_volume(struct thinbd *t, const struct thinbd_params *p,
			struct thin_error *e)
{
	int r = thin_volume_conf_new("", &t->the_volume);

	if (r)
		return r;
	t->the_volume->device = p->device;
	t->the_volume->size = p->size;
	t->the_volume->created = time(NULL);
	return p->origin ? table_origin(t, p->origin, e) : 0;
}

static int check_table(struct thinbd *t, const struct thinbd_params *p,
		       struct thin_error *e)
{
	bool there;
	int r = device_exists(t, p->device, &there);

	if (r)
		return r;
	if (p->block_size && p->block_size != t->block_size)
		return thin_error_set(e, -EINVAL,
				      "%s: the pool's block size is %llu, not %llu bytes",
				      p->metadata, (unsigned long long)t->block_size,
				      (unsigned long long)p->block_size);
	if (!there)
		return thin_error_set(e, -ENOENT,
				      "%s: there is no device %u in this pool",
				      p->metadata, p->device);
	return 0;
}

static int open_table(struct thinbd *t, const struct thinbd_params *p,
		      struct thin_error *e)
{
	struct thin_pool_params params = {0};
	int r = table_conf(t, p);

	if (!r)
		r = table_volume(t, p, e);
	if (!r)
		r = thin_open_storages("/", &t->conf, t->read_only, &params.metadata,
				       &params.data, e);
	if (r)
		return r;
	thin_pool_policy(&t->conf, &params);
	thin_pool_low_water(&t->conf, &params);
	r = open_pool(t, p->metadata, &params, e);
	return r ? r : check_table(t, p, e);
}

/* --- from outside -------------------------------------------------------- */

static int tell_error(int r, const struct thin_error *from, struct thinbd_error *e)
{
	if (r && e) {
		e->code = r;
		snprintf(e->text, sizeof(e->text), "%s",
			 from->text[0] ? from->text : thin_strerror(r));
	}
	return r;
}

static struct thinbd *new_service(const struct thinbd_params *p)
{
	struct thinbd *t = calloc(1, sizeof(*t));

	if (!t)
		return NULL;
	t->read_only = p->read_only;
	t->why_read_only = "it was opened read-only";
	t->event = p->event;
	t->event_ctx = p->event_ctx;
	thin_mutex_init(&t->lock);
	thin_mutex_init(&t->handles_lock);
	thin_mutex_init(&t->origins_lock);
	thin_cond_init(&t->origins_changed);
	return t;
}

/* Else the first client would be the one to hear of a slip of the pen. */
static int check_default(struct thinbd *t, struct thin_error *e)
{
	_cleanup_volume_conf const struct thin_volume_conf *v = NULL;
	int r = thin_registry_find(t->registry, t->default_volume, &v, NULL);

	if (r != -ENOENT)
		return 0;
	return thin_error_set(e, r, "%s: %s: no such volume; see `thinbd list`", t->dir,
			      t->default_volume);
}

int thin_service_open(const struct thinbd_params *p, bool *ret_locked,
		      struct thinbd **ret, struct thin_error *e)
{
	struct thinbd *t = new_service(p);
	bool locked = false;
	int r = 0;

	if (ret_locked)
		*ret_locked = false;
	if (!t)
		return -ENOMEM;
	if (p->default_volume) {
		t->default_volume = strdup(p->default_volume);
		r = t->default_volume ? 0 : -ENOMEM;
	}
	if (!r)
		r = p->dir ? open_folder(t, p, &locked, e) : open_table(t, p, e);
	if (!r && t->default_volume)
		r = check_default(t, e);
	if (r) {
		if (ret_locked)
			*ret_locked = locked;
		(void)thinbd_close(t); /* nothing was changed that could be lost */
		return thin_error_default(e, r, "%s: %s", p->dir ? p->dir : p->metadata,
					  thin_strerror(r));
	}
	*ret = t;
	return 0;
}

int thinbd_open(const struct thinbd_params *p, struct thinbd **ret,
		struct thinbd_error *e)
{
	struct thin_error why = {0};

	return tell_error(thin_service_open(p, NULL, ret, &why), &why, e);
}

static int start(struct thinbd *t, struct thin_error *e)
{
	int r = thin_pool_start(t->pool);

	/* We may have been forked off: the lock's owner is another process. */
	if (!r && t->pool_lock)
		r = thin_pool_lock_refresh(t->pool_lock, e);
	if (!r)
		r = thin_extender_start(t->extender);
	if (!r)
		r = thin_burier_start(t->burier);
	if (!r)
		r = thin_settler_start(t->settler);
	if (!r)
		r = thin_backups_start(t->backups);
	if (!r && t->attachment.start)
		r = t->attachment.start(t->attachment.ctx);
	if (!r && t->registry && !t->read_only)
		thin_jobs_resume(t);
	return r;
}

int thinbd_start(struct thinbd *t, struct thinbd_error *e)
{
	struct thin_error why = {0};

	return tell_error(start(t, &why), &why, e);
}

int thinbd_close(struct thinbd *t)
{
	int r = 0;

	if (!t)
		return 0;
	atomic_store(&t->ending, true);
	if (t->attachment.stop)
		t->attachment.stop(t->attachment.ctx);
	thin_jobs_stop(t);
	thin_backups_stop(t->backups);
	thin_burier_stop(t->burier);
	thin_settler_stop(t->settler);
	thin_close_handles(t);
	thin_counters_forget_all(t);
	thin_extender_stop(t->extender);
	thin_registry_close(t->registry);
	if (t->pool)
		r = thin_pool_close(t->pool);
	thin_extender_free(t->extender);
	thin_burier_free(t->burier);
	thin_settler_free(t->settler);
	thin_volume_conf_put(t->the_volume);
	thin_files_close(t->volume_files);
	thin_files_close(t->files);
	thin_pool_conf_fini(&t->conf);
	thin_pool_lock_release(t->pool_lock);
	thin_cond_fini(&t->origins_changed);
	thin_mutex_fini(&t->origins_lock);
	thin_mutex_fini(&t->handles_lock);
	thin_mutex_fini(&t->lock);
	free(t->default_volume);
	free(t->dir);
	free(t);
	return r;
}

void thinbd_counters(struct thinbd *t, struct thinbd_counters *ret)
{
	struct thin_pool_status s;

	thin_pool_status(t->pool, &s);
	*ret = (struct thinbd_counters){
		.block_size = s.block_size,
		.data_used = s.metadata.data_allocated,
		.data_total = s.metadata.nr_data_blocks,
		.metadata_used = s.metadata.metadata_allocated,
		.metadata_total = s.metadata.nr_metadata_blocks,
		.commits = s.metadata.commits,
	};
}
