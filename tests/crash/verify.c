/* SPDX-License-Identifier: BSD-3-Clause */
#include "verify.h"

#include "view.h"

#include "audit/audit.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#define NOW_AND_THEN 16

static int __attribute__((format(printf, 3, 4)))
say(char *why, size_t len, const char *fmt, ...)
{
	va_list args;

	va_start(args, fmt);
	vsnprintf(why, len, fmt, args);
	va_end(args);
	return -EINVAL;
}

/* --- the audit ------------------------------------------------------------- */

struct finding {
	char *why;
	size_t len;
	bool any;
};

/* Notes are legal, but for bytes in metadata blocks that belong to nobody. */
static int note_finding(void *ctx, const struct thin_finding *f)
{
	struct finding *first = ctx;

	if (f->severity == THIN_AUDIT_NOTE && f->kind != THIN_AUDIT_SLACK_NONZERO)
		return 0;
	if (!first->any)
		thin_finding_format(f, NULL, NULL, first->why, first->len);
	first->any = true;
	return 0;
}

int verify_audit(struct thin_storage *metadata, uint64_t nr_data_blocks, char *why,
		 size_t len)
{
	struct thin_audit_params params = {.nr_data_blocks = nr_data_blocks};
	struct finding first = {.why = why, .len = len};
	struct thin_audit_summary sum;
	struct thin_error e = {""};
	int r = thin_audit(metadata, &params, note_finding, &first, &sum, &e);

	if (r)
		return say(why, len, "the audit failed: %.200s", e.text);
	if (first.any)
		return -EINVAL;
	return sum.complete ? 0 : say(why, len, "the audit is not complete");
}

/* --- volumes ------------------------------------------------------------------ */

int verify_volume(struct thin_volume *v, uint32_t volume, const struct model *model,
		  bool (*may)(const struct model *m, uint32_t volume, uint64_t sector,
			      uint32_t value),
		  struct model *found_model, char *why, size_t len)
{
	uint64_t nr = thin_volume_size(v) / THIN_SECTOR;
	_cleanup_free uint8_t *buf = must_alloc(nr, THIN_SECTOR);
	int r = thin_volume_read(v, buf, 0, nr * THIN_SECTOR);

	if (r)
		return say(why, len, "volume %u can not be read: %s", volume,
			   thin_strerror(r));
	for (uint64_t s = 0; s < nr; s++) {
		uint32_t value = stamp_read(buf + s * THIN_SECTOR, s);

		if (!may(model, volume, s, value))
			return say(why, len,
				   "volume %u, sector %" PRIu64 ": %" PRIu32
				   " was read, expected %s",
				   volume, s, value, model_describe(model, volume, s));
		if (found_model)
			model_set(found_model, volume, s, value);
	}
	return 0;
}

struct thin_origin *verify_origin(struct thin_storage *storage)
{
	struct thin_origin *origin;
	int r;

	if (!storage)
		return NULL;
	must_alloc_depth++;
	r = thin_origin_open(storage, "origin", NULL, &origin, NULL);
	must_alloc_depth--;
	if (r)
		abort();
	return origin;
}

static int check_contents(struct verify *vf, struct thin_pool *pool, uint32_t volume,
			  const struct model *model, struct model *found_model)
{
	const struct model_volume *mv = &model->volume[volume];
	struct thin_origin *origin =
		mv->origin_sectors ? verify_origin(vf->origin) : NULL;
	struct thin_volume_params params = {
		.device = volume,
		.size = mv->nr_sectors * THIN_SECTOR,
		.origin = origin,
	};
	struct thin_volume *v;
	int r = thin_volume_open(pool, &params, &v);

	thin_origin_unref(origin);
	if (r)
		return say(vf->failure, sizeof(vf->failure), "volume %u: %s", volume,
			   thin_strerror(r));
	if (found_model)
		model_add(found_model, volume, mv->nr_sectors, mv->origin_sectors);
	r = verify_volume(v, volume, model, model_may, found_model, vf->failure,
			  sizeof(vf->failure));
	thin_volume_close(v);
	return r;
}

/* Which devices are there. */
static int list_devices(struct verify *vf, struct thin_pool *pool, bool *there)
{
	struct thin_device_info info;
	uint32_t from = 0;

	while (!thin_pool_next_device(pool, from, &info)) {
		if (info.id >= MODEL_VOLUMES)
			return say(vf->failure, sizeof(vf->failure),
				   "there is a device %u", info.id);
		there[info.id] = true;
		from = info.id + 1;
	}
	return 0;
}

static int check_volumes(struct verify *vf, struct thin_pool *pool,
			 const struct model *model, struct model *found_model)
{
	bool there[MODEL_VOLUMES] = {false};
	int r = list_devices(vf, pool, there);

	for (uint32_t i = 0; i < MODEL_VOLUMES && !r; i++) {
		enum model_exists exists = model->volume[i].exists;

		if (there[i] && exists == MODEL_NO)
			r = say(vf->failure, sizeof(vf->failure),
				"volume %u is there, and must not be", i);
		else if (!there[i] && exists == MODEL_YES)
			r = say(vf->failure, sizeof(vf->failure), "volume %u is gone", i);
		else if (there[i])
			r = check_contents(vf, pool, i, model, found_model);
	}
	return r;
}

/* --- the pool ---------------------------------------------------------------------- */

static int check_sound(struct verify *vf, struct thin_pool *pool,
		       struct thin_storage *metadata, uint64_t nr_data_blocks,
		       const struct model *model, struct model *found_model)
{
	char why[400];

	if (verify_audit(metadata, nr_data_blocks, why, sizeof(why)))
		return say(vf->failure, sizeof(vf->failure), "audit: %s", why);
	return check_volumes(vf, pool, model, found_model);
}

static int check_open(struct verify *vf, struct thin_pool *pool,
		      struct thin_storage *metadata, const struct model *model,
		      struct model *found_model)
{
	struct thin_pool_status st;

	thin_pool_status(pool, &st);
	if (vf->may_need_check && st.mode == THIN_MODE_READ_ONLY &&
	    st.metadata.needs_check)
		return check_sound(vf, pool, metadata, st.metadata.nr_data_blocks, model,
				   found_model);
	if (st.mode != THIN_MODE_WRITE || st.metadata.needs_check)
		return say(vf->failure, sizeof(vf->failure), "the pool is %s%s",
			   thin_pool_mode_name(st.mode),
			   st.metadata.needs_check ? " and needs a check" : "");
	return check_sound(vf, pool, metadata, st.metadata.nr_data_blocks, model,
			   found_model);
}

int verify_pool(struct verify *vf, struct thin_storage *metadata,
		struct thin_storage *data, const struct model *model,
		struct model *found_model)
{
	struct thin_pool_params params = {.metadata = metadata, .data = data};
	struct thin_pool *pool;
	struct thin_error e = {""};
	int r = thin_pool_open(&params, &pool, &e);

	vf->counts->opens++;
	if (r)
		return say(vf->failure, sizeof(vf->failure), "it does not open: %.400s",
			   e.text);
	if (found_model)
		model_init(found_model);
	r = check_open(vf, pool, metadata, model, found_model);
	if (thin_pool_close(pool) && !r)
		r = say(vf->failure, sizeof(vf->failure), "it does not close");
	if (r && found_model)
		model_fini(found_model);
	return r;
}

/* --- images --------------------------------------------------------------------------
 */

uint64_t verify_metadata_state(const struct image *img, const struct view *v)
{
	uint64_t mb = THIN_METADATA_BLOCK / THIN_SECTOR, sum = 0;

	for (uint64_t b = 0; b < v->nr_metadata; b++)
		for (uint64_t s = b * mb; v->reached[b] && s < (b + 1) * mb; s++)
			sum += replay_place(REC_METADATA, s, img->hash[REC_METADATA][s]);
	return sum;
}

uint64_t verify_state(const struct image *img, const struct view *v)
{
	uint64_t db = v->block_size / THIN_SECTOR;
	uint64_t sum = img->disk[REC_DATA].size ^ img->disk[REC_METADATA].size << 20;

	sum += verify_metadata_state(img, v);
	for (uint64_t b = 0; b < v->nr_data; b++)
		for (uint64_t s = b * db; v->data[b].live && s < (b + 1) * db; s++)
			if (s < img->disk[REC_DATA].size / THIN_SECTOR)
				sum += replay_place(REC_DATA, s, img->hash[REC_DATA][s]);
	return stamp_mix(sum);
}

/* f. */
static int look_unchanged(struct verify *vf, struct disk *disk, const struct model *model,
			  struct model *found_model)
{
	int r = verify_pool(vf, &disk[REC_METADATA].base, &disk[REC_DATA].base, model,
			    found_model);

	if (r || (!disk[REC_METADATA].changes && !disk[REC_DATA].changes))
		return r;
	if (found_model)
		model_fini(found_model);
	return say(vf->failure, sizeof(vf->failure), "opening it changed it");
}

/*
 * A storage that became larger, before the metadata knew, is taken into use
 * by the first open: that changes it, and only the second one must not.
 */
static int look_twice(struct verify *vf, const struct image *img,
		      const struct model *model, struct model *found_model)
{
	struct disk copy[REC_FILES];
	int r;

	for (unsigned f = 0; f < REC_FILES; f++) {
		disk_init(&copy[f], 0);
		disk_copy(&copy[f], &img->disk[f]);
	}
	r = verify_pool(vf, &copy[REC_METADATA].base, &copy[REC_DATA].base, model, NULL);
	copy[REC_METADATA].changes = copy[REC_DATA].changes = 0;
	if (!r)
		r = look_unchanged(vf, copy, model, found_model);
	for (unsigned f = 0; f < REC_FILES; f++)
		disk_fini(&copy[f]);
	return r;
}

static bool has_more(const struct image *img, const struct view *v)
{
	return img->disk[REC_DATA].size > v->nr_data * v->block_size ||
	       img->disk[REC_METADATA].size > v->nr_metadata * THIN_METADATA_BLOCK;
}

static int look_closely(struct verify *vf, struct image *img, const struct view *v,
			const struct model *model)
{
	bool go_on = vf->go_on && ++vf->dice % vf->go_on_every == 0;
	struct model found_model, *found = go_on ? &found_model : NULL;
	int r = has_more(img, v) ? look_twice(vf, img, model, found)
				 : look_unchanged(vf, img->disk, model, found);

	if (r)
		return r;
	if (go_on) {
		if (!r)
			r = vf->go_on(vf->ctx, img, &found_model);
		model_fini(&found_model);
	}
	return r;
}

static int check_image(struct verify *vf, struct image *img, const struct replay *rp)
{
	uint64_t model = model_hash(&rp->model);
	struct view v;
	int r;

	r = view_read(&v, &img->disk[REC_METADATA].base, img->disk[REC_METADATA].bytes);
	if (r) {
		say(vf->failure, sizeof(vf->failure), "what it refers to is lost: %s",
		    v.why);
		view_fini(&v);
		return r;
	}
	if (seen_add(&vf->states, verify_state(img, &v) ^ model)) {
		vf->counts->states++;
		if (vf->samples)
			r = samples_add(vf->samples, &img->disk[REC_METADATA],
					verify_metadata_state(img, &v));
		if (!r)
			r = look_closely(vf, img, &v, &rp->model);
		else
			say(vf->failure, sizeof(vf->failure), "%s",
			    samples_verdict(vf->samples));
	} else if (++vf->dice % NOW_AND_THEN == 0) {
		r = look_closely(vf, img, &v, &rp->model);
	}
	view_fini(&v);
	return r;
}

int verify_image(void *ctx, struct image *img, const struct replay *rp)
{
	struct verify *vf = ctx;
	size_t len;
	int r = check_image(vf, img, rp);

	if (!r)
		return 0;
	len = strlen(vf->failure);
	snprintf(vf->failure + len, sizeof(vf->failure) - len,
		 "\n  in a crash after event %" PRIu64 " (%s), %zu changes not durable",
		 rp->now, img->how, rp->nr_changes);
	return r;
}

void verify_fini(struct verify *vf)
{
	seen_fini(&vf->states);
}
