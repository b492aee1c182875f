/* SPDX-License-Identifier: BSD-3-Clause */
#include "service/closed_pool.h"

#include "audit/audit.h"
#include "service/service.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* By the audit's walker: also where the pool can not be opened. */
static int device_exists(void *ctx, uint32_t device, bool *ret)
{
	struct thin_walk_params params = {.device = device};
	struct thin_walk_fns nothing = {0};
	int r = thin_audit_walk(ctx, &params, &nothing, NULL, NULL);

	if (r && r != -ENOENT)
		return r;
	*ret = !r;
	return 0;
}

void thin_closed_pool_close(struct thin_closed_pool *p)
{
	thin_registry_close(p->registry);
	thin_storage_close(p->metadata);
	thin_storage_close(p->data);
	thin_pool_conf_fini(&p->conf);
	thin_files_close(p->volume_files);
	thin_files_close(p->files);
	thin_pool_lock_release(p->lock);
	free(p->dir);
}

static int open_folder(struct thin_closed_pool *p, const char *dir, const char *who,
		       struct thin_error *e)
{
	int r;

	p->dir = realpath(dir, NULL);
	if (!p->dir)
		return thin_error_set(e, -errno, "%s: %s", dir, thin_strerror(errno));
	r = thin_files_open(p->dir, 0, &p->files, e);
	if (!r)
		r = thin_pool_conf_read(p->files, &p->conf, e);
	if (!r)
		r = thin_pool_lock_take(p->dir, who, &p->lock, e);
	return r == -EROFS ? 0 : r;
}

/* Where it can not be had, devices have no names, and that is told. */
static void open_registry(struct thin_closed_pool *p)
{
	_cleanup_free char *path = NULL;
	struct thin_registry_params params = {
		.readonly = true,
		.device_exists = device_exists,
		.ctx = p->metadata,
	};

	if (asprintf(&path, "%s/volumes", p->dir) < 0) {
		path = NULL;
		return;
	}
	if (thin_files_open(path, 0, &p->volume_files, &p->no_registry))
		return;
	params.files = p->volume_files;
	if (thin_registry_open(&params, &p->registry, &p->no_registry))
		p->registry = NULL;
}

int thin_closed_pool_open(struct thin_closed_pool *p, const char *dir, const char *who,
			  struct thin_error *e)
{
	uint64_t bytes;
	int r = open_folder(p, dir, who, e);

	if (!r)
		r = thin_open_storages(p->dir, &p->conf, true, &p->metadata, &p->data, e);
	if (r)
		return r;
	if (!thin_storage_size(p->data, &bytes))
		p->nr_data_blocks = thin_data_blocks(p->metadata, bytes);
	open_registry(p);
	return 0;
}
