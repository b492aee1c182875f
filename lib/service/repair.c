/* SPDX-License-Identifier: BSD-3-Clause */
#include "service/repair.h"

#include "metadata/metadata.h"
#include "registry/files.h"
#include "service/outcome.h"
#include "util/checked.h"
#include "util/limits.h"

#include <errno.h>
#include <libgen.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#define NEW_SUFFIX ".repaired"

/* Each adds devices to those that count as shared; two are what it takes. */
#define ROUNDS 4

int thin_renewal_init(struct thin_renewal *n, const char *dir,
		      const struct thin_pool_conf *conf, struct thin_storage *metadata,
		      uint64_t nr_data_blocks, struct thin_error *e)
{
	_cleanup_free char *path = NULL;
	struct stat st;
	int r = thin_pool_conf_locate(dir, conf->metadata, &path);

	*n = (struct thin_renewal){
		.dir = dir,
		.metadata = metadata,
		.nr_data_blocks = nr_data_blocks,
	};
	if (r)
		return r;
	n->path = realpath(path, NULL);
	if (!n->path || stat(n->path, &st) < 0)
		return thin_error_set(e, -errno, "%s: %s", path, strerror(errno));
	n->in_place = !S_ISREG(st.st_mode);
	return 0;
}

void thin_renewal_fini(struct thin_renewal *n)
{
	thin_storage_close(n->metadata);
	free(n->path);
}

static void close_metadata(struct thin_renewal *n)
{
	thin_storage_close(thin_steal(n->metadata));
}

/* --- only the mark ------------------------------------------------------- */

int thin_renewal_clear_mark(struct thin_renewal *n, struct thin_error *e)
{
	_cleanup_storage struct thin_storage *s = NULL;
	_cleanup_metadata struct thin_metadata *m = NULL;
	int r;

	close_metadata(n);
	r = thin_storage_open_file(n->path, THIN_STORAGE_EXCLUSIVE, &s, e);
	struct thin_metadata_params params = {
		.storage = s,
		.cache_bytes = THIN_METADATA_CACHE,
	};

	if (!r)
		r = thin_metadata_open(&params, &m, e);
	return r ? r : thin_metadata_clear_needs_check(m);
}

/* --- a new file ------------------------------------------------------------ */

static char *name_beside(const struct thin_renewal *n, const char *suffix)
{
	char *copy = strdup(n->path), *name = NULL;

	if (!copy)
		return NULL;
	/* Beside a device there may be no room for anything. */
	if (asprintf(&name, "%s/%s%s", n->in_place ? n->dir : dirname(copy),
		     strrchr(n->path, '/') + 1, suffix) < 0)
		name = NULL;
	free(copy);
	return name;
}

/* Empty, and as large as what is there. */
static int new_file(const struct thin_renewal *n, const char *path, uint64_t bytes,
		    struct thin_storage **ret, struct thin_error *e)
{
	_cleanup_storage struct thin_storage *s = NULL;
	struct stat st;
	int r;

	if (unlink(path) < 0 && errno != ENOENT)
		return thin_error_set(e, -errno, "%s: %s", path, strerror(errno));
	r = thin_storage_open_file(path, THIN_STORAGE_CREATE | THIN_STORAGE_NEW, &s, e);
	if (!r && !n->in_place && !stat(n->path, &st) &&
	    (chmod(path, st.st_mode & 0777) ||
	     (!geteuid() && chown(path, st.st_uid, st.st_gid))))
		r = thin_error_set(e, -errno, "%s: %s", path, strerror(errno));
	if (!r)
		r = thin_storage_resize(s, bytes);
	if (!r)
		*ret = thin_steal(s);
	return r;
}

/* The losses were told when the caller asked; only the first round tells. */
static int one_round(const struct thin_renewal *n, const char *path,
		     struct thin_repair_params *p, const struct thin_repair_fns *fns,
		     void *ctx, struct thin_outcome *f, struct thin_error *e)
{
	_cleanup_storage struct thin_storage *to = NULL;
	struct thin_repair_result result;
	uint64_t bytes;
	int r = thin_storage_size(p->from, &bytes);

	if (!r)
		r = new_file(n, path, bytes, &to, e);
	if (r)
		return r;
	p->to = to;
	p->shared = f->shared;
	p->nr_shared = f->nr;
	p->drop_held = p->drop_held || f->held;
	r = thin_repair(p, fns, ctx, &result, e);
	return r ? r : thin_outcome_audit(to, n->nr_data_blocks, f, e);
}

static int make_new(const struct thin_renewal *n, const char *path,
		    struct thin_repair_params *p, const struct thin_repair_fns *fns,
		    void *ctx, struct thin_outcome *f, struct thin_error *e)
{
	struct thin_repair_fns quiet = {.keep = fns->keep};

	for (unsigned round = 0; round < ROUNDS; round++) {
		int r = one_round(n, path, p, round ? &quiet : fns, ctx, f, e);

		if (r || !f->new)
			return r;
	}
	return thin_error_set(e, -EUCLEAN, "it can not be repaired; nothing was changed");
}

/* --- exchange ---------------------------------------------------------------- */

/* A second name for the old file, which then loses the first one. */
static int keep_old(const struct thin_renewal *n, const char *kept_as, char **ret)
{
	long long now = time(NULL);

	for (unsigned i = 0; i < 1000; i++) {
		_cleanup_free char *suffix = NULL, *path = NULL;

		if (asprintf(&suffix, ".%s-%lld", kept_as, now + i) < 0) {
			suffix = NULL;
			return -ENOMEM;
		}
		path = name_beside(n, suffix);
		if (!path)
			return -ENOMEM;
		if (n->in_place ? access(path, F_OK) < 0 : !link(n->path, path)) {
			*ret = thin_steal(path);
			return 0;
		}
		if (!n->in_place && errno != EEXIST)
			return -errno;
	}
	return -EEXIST;
}

/* @path takes the place of the old file.  After a crash either is there, whole. */
static int exchange(const struct thin_renewal *n, const char *path, const char *kept_as,
		    char **ret_kept, struct thin_error *e)
{
	_cleanup_free char *for_dir = strdup(n->path);
	_cleanup_files struct thin_files *f = NULL;
	int r;

	if (!for_dir)
		return -ENOMEM;
	r = thin_files_open(dirname(for_dir), 0, &f, e);
	if (!r)
		r = keep_old(n, kept_as, ret_kept);
	if (!r)
		r = f->ops->sync(f, strrchr(path, '/') + 1);
	if (!r)
		r = f->ops->sync_folder(f);
	if (!r)
		r = f->ops->rename(f, strrchr(path, '/') + 1, strrchr(n->path, '/') + 1);
	return r ? r : f->ops->sync_folder(f);
}

/* --- in place ---------------------------------------------------------------- */

/* Zeros stay holes. */
static int copy_block(struct thin_storage *from, struct thin_storage *to, uint64_t block)
{
	static const uint8_t zeros[THIN_METADATA_BLOCK];
	uint8_t buf[THIN_METADATA_BLOCK];
	int r = thin_storage_read_at(from, block * sizeof(buf), buf, sizeof(buf));

	if (r == -EIO)
		return 0; /* one of the things that are wrong with it */
	if (r || !memcmp(buf, zeros, sizeof(buf)))
		return r;
	return thin_storage_write_at(to, block * sizeof(buf), buf, sizeof(buf));
}

static int copy_old(const struct thin_renewal *n, const char *kept_as, char **ret_kept,
		    struct thin_error *e)
{
	_cleanup_storage struct thin_storage *to = NULL;
	_cleanup_files struct thin_files *f = NULL;
	uint64_t bytes;
	int r = keep_old(n, kept_as, ret_kept);

	if (!r)
		r = thin_storage_size(n->metadata, &bytes);
	if (!r)
		r = new_file(n, *ret_kept, bytes, &to, e);
	for (uint64_t i = 0; !r && i < bytes / THIN_METADATA_BLOCK; i++)
		r = copy_block(n->metadata, to, i);
	if (!r)
		r = thin_storage_flush(to);
	if (!r)
		r = thin_files_open(n->dir, 0, &f, e);
	return r ? r : f->ops->sync_folder(f);
}

/* What was tried on a file, with the device. */
static int do_in_place(struct thin_renewal *n, struct thin_repair_params *p,
		       const struct thin_repair_fns *fns, void *ctx,
		       struct thin_outcome *f, struct thin_error *e)
{
	_cleanup_storage struct thin_storage *s = NULL;
	struct thin_repair_fns quiet = {.keep = fns->keep};
	struct thin_repair_result result;
	bool same = p->from == n->metadata;
	int r;

	close_metadata(n);
	r = thin_storage_open_file(n->path, THIN_STORAGE_EXCLUSIVE, &s, e);
	if (r)
		return r;
	p->to = s;
	if (same)
		p->from = s;
	r = thin_repair(p, &quiet, ctx, &result, e);
	return r ? r : thin_outcome_audit(s, n->nr_data_blocks, f, e);
}

int thin_renewal_repair(struct thin_renewal *n, struct thin_storage *from,
			struct thin_repair_params *p, const struct thin_repair_fns *fns,
			void *ctx, const char *kept_as, char **ret_kept,
			struct thin_error *e)
{
	_cleanup_free char *path = name_beside(n, NEW_SUFFIX);
	struct thin_outcome f = {0};
	int r;

	if (!path)
		return -ENOMEM;
	p->from = from;
	p->nr_data_blocks = n->nr_data_blocks;
	r = make_new(n, path, p, fns, ctx, &f, e);
	if (!r && !n->in_place)
		r = exchange(n, path, kept_as, ret_kept, e);
	if (!r && n->in_place)
		r = copy_old(n, kept_as, ret_kept, e);
	if (!r && n->in_place)
		r = do_in_place(n, p, fns, ctx, &f, e);
	if (r || n->in_place)
		(void)unlink(path); /* ours, and of no use any more */
	close_metadata(n);
	thin_outcome_fini(&f);
	return r;
}
