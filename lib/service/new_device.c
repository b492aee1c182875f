/* SPDX-License-Identifier: BSD-3-Clause */
#include "service/new_device.h"

#include "registry/pool_conf.h"
#include "util/checked.h"
#include "util/size.h"

#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Where superblocks, partition tables and headers are. */
#define HEAD ((size_t)64 << 10)

/* --- does it hold something? --------------------------------------------- */

static int found_data(void *ctx, uint64_t offset, uint64_t len,
		      enum thin_extent_type type)
{
	(void)offset;
	(void)len;
	*(bool *)ctx |= type == THIN_EXTENT_DATA;
	return *(bool *)ctx; /* that is enough */
}

static bool is_zero(const uint8_t *p, size_t len)
{
	for (size_t i = 0; i < len; i++)
		if (p[i])
			return false;
	return true;
}

/* Of a device without holes: is its head blank? */
static int look_at_head(struct thin_storage *s, uint64_t bytes, bool *ret_used)
{
	size_t len = (size_t)thin_min(bytes, HEAD);
	_cleanup_free uint8_t *head = malloc(HEAD);
	int r = head ? thin_storage_read_at(s, 0, head, len) : -ENOMEM;

	if (!r)
		*ret_used = !is_zero(head, len);
	return r;
}

static bool is_regular(const struct thin_new_device *d)
{
	struct stat st;

	return !thin_storage_is_uri(d->path) && !stat(d->path, &st) &&
	       S_ISREG(st.st_mode);
}

/*
 * A file that has data anywhere is used.  A device is, where its first
 * blocks are not zeros: what has none of those nobody would recognise.
 */
static int check_unused(struct thin_new_device *d, bool force, struct thin_error *e)
{
	uint64_t bytes;
	int r = thin_storage_size(d->storage, &bytes);

	if (!r && bytes)
		r = thin_storage_extents(d->storage, 0, bytes, found_data, &d->used);
	if (r > 0)
		r = 0;
	if (!r && d->used && !is_regular(d))
		r = look_at_head(d->storage, bytes, &d->used);
	if (!r && d->used && !force)
		r = thin_error_set(
			e, -EEXIST,
			"%s: there is something on it; --force to overwrite it", d->path);
	return r;
}

/* --- opening ------------------------------------------------------------- */

/* A file that is not there is made. */
static int open_or_make(struct thin_new_device *d, struct thin_error *e)
{
	unsigned flags = THIN_STORAGE_EXCLUSIVE;

	if (thin_storage_is_uri(d->path))
		return thin_storage_open(d->path, flags, &d->storage, e);
	d->made = access(d->path, F_OK) < 0 && errno == ENOENT;
	if (d->made)
		flags |= THIN_STORAGE_CREATE | THIN_STORAGE_NEW;
	int r = thin_storage_open_file(d->path, flags, &d->storage, e);
	if (r == -EEXIST)
		d->made = false; /* somebody was faster */
	return r;
}

int thin_new_device_open(const char *dir, const char *where, bool force, uint64_t bytes,
			 struct thin_new_device *ret, struct thin_error *e)
{
	*ret = (struct thin_new_device){.bytes = bytes};
	int r = thin_pool_conf_locate(dir, where, &ret->path);
	if (!r)
		r = open_or_make(ret, e);
	if (!r && !ret->made)
		r = check_unused(ret, force, e);
	return r;
}

/* What was in a file that was forced on us is not to be seen again. */
static int empty_file(struct thin_new_device *d)
{
	return d->used && is_regular(d) ? thin_storage_resize(d->storage, 0) : 0;
}

int thin_new_device_size(struct thin_new_device *d, struct thin_error *e)
{
	char wanted[THIN_SIZE_TEXT], there[THIN_SIZE_TEXT];
	uint64_t now = 0;
	int r = empty_file(d);

	if (!r)
		r = thin_storage_size(d->storage, &now);
	if (!r && now < d->bytes)
		r = thin_storage_resize(d->storage, d->bytes);
	if (r == -ENOTSUP)
		r = thin_error_set(e, -ENOSPC, "%s: has %s only, and %s are needed",
				   d->path, thin_size_human(now, there),
				   thin_size_human(d->bytes, wanted));
	return r ? thin_error_default(e, r, "%s: %s", d->path, strerror(-r)) : 0;
}

int thin_new_device_allocate(struct thin_new_device *d, struct thin_error *e)
{
	int r = is_regular(d) ? thin_file_allocate(d->storage, d->bytes) : 0;

	if (r == -ENOTSUP)
		return 0; /* as good as it gets there */
	return r ? thin_error_set(e, r, "%s: %s", d->path, thin_strerror(r)) : 0;
}

void thin_new_device_undo(struct thin_new_device *d)
{
	if (d->made && d->path)
		(void)unlink(d->path);
}

void thin_new_device_close(struct thin_new_device *d)
{
	thin_storage_close(d->storage);
	free(d->path);
	*d = (struct thin_new_device){0};
}
