/* SPDX-License-Identifier: BSD-3-Clause */
/* What can be said with any folder's operations. */
#include "registry/files.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

int thin_files_error(const struct thin_files *f, const char *name, const char *verb,
		     int err, struct thin_error *e)
{
	const char *reason = strerrordesc_np(-err);

	if (err == -EINVAL)
		reason = "it is not a regular file";
	else if (err == -ELOOP)
		reason = "it is a symbolic link";
	else if (err == -EFBIG)
		reason = "it is larger than any that thinbd writes";
	return thin_error_set(e, err, "cannot %s %s%s%s: %s", verb, f->where,
			      *name ? "/" : "", name, reason ? reason : "unknown error");
}

int thin_files_read(struct thin_files *f, const char *name, size_t max, char **ret_text,
		    size_t *ret_len, struct thin_error *e)
{
	int r = f->ops->read(f, name, max, ret_text, ret_len);

	return r ? thin_files_error(f, name, "read", r, e) : 0;
}

int thin_files_write(struct thin_files *f, const char *name, const char *text, size_t len,
		     struct thin_error *e)
{
	int r = f->ops->write(f, name, text, len);

	if (!r)
		r = f->ops->sync(f, name);
	return r ? thin_files_error(f, name, "write", r, e) : 0;
}

int thin_files_replace(struct thin_files *f, const char *name, const char *text,
		       size_t len, struct thin_error *e)
{
	_cleanup_free char *tmp = NULL;
	int r;

	if (asprintf(&tmp, THIN_FILES_TMP "%s", name) < 0) {
		tmp = NULL;
		return -ENOMEM;
	}
	r = thin_files_write(f, tmp, text, len, e);
	if (!r) {
		r = f->ops->rename(f, tmp, name);
		if (r)
			thin_files_error(f, name, "replace", r, e);
	}
	if (r) {
		(void)f->ops->unlink(f, tmp); /* it means nothing anyhow */
		return r;
	}
	r = f->ops->sync_folder(f);
	return r ? thin_files_error(f, "", "write", r, e) : 0;
}
