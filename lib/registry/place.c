/* SPDX-License-Identifier: BSD-3-Clause */
#include "registry/place.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#define TMP_FILE_MAX (sizeof(THIN_FILES_TMP) + THIN_VOLUME_FILE_MAX)

/* What a volume's file is called until it is renamed.  Returns @buf. */
static char *tmp_file(const char *name, char buf[static TMP_FILE_MAX])
{
	char file[THIN_VOLUME_FILE_MAX];

	sprintf(buf, THIN_FILES_TMP "%s", thin_volume_file(name, file));
	return buf;
}

static int write_new_file(struct thin_files *f, const struct thin_volume_conf *v,
			  struct thin_error *e)
{
	_cleanup_free char *text = NULL;
	char tmp[TMP_FILE_MAX];
	size_t len;
	int r;

	r = thin_volume_conf_print(v, &text, &len);
	if (r)
		return r;
	r = f->ops->write(f, tmp_file(v->name, tmp), text, len);
	return r ? thin_files_error(f, tmp, "write", r, e) : 0;
}

int thin_place_prepare(struct thin_files *f, const struct thin_intent *in,
		       struct thin_error *e)
{
	int r = 0;

	for (size_t i = 0; i < in->nr_put && !r; i++)
		r = write_new_file(f, in->put[i], e);
	if (r)
		thin_place_drop(f, in);
	return r;
}

/* They mean nothing: what can not be removed now is removed at the next open. */
void thin_place_drop(struct thin_files *f, const struct thin_intent *in)
{
	char tmp[TMP_FILE_MAX];

	for (size_t i = 0; i < in->nr_put; i++)
		(void)f->ops->unlink(f, tmp_file(in->put[i]->name, tmp));
}

int thin_place_move(struct thin_files *f, const struct thin_intent *in,
		    struct thin_error *e)
{
	char file[THIN_VOLUME_FILE_MAX], tmp[TMP_FILE_MAX];
	int r = 0;

	for (size_t i = 0; !r && i < in->nr_put; i++) {
		const char *name = in->put[i]->name;

		r = f->ops->rename(f, tmp_file(name, tmp), thin_volume_file(name, file));
		if (r)
			thin_files_error(f, file, "replace", r, e);
	}
	for (size_t i = 0; !r && i < in->nr_remove; i++) {
		r = f->ops->unlink(f, thin_volume_file(in->remove[i], file));
		r = r == -ENOENT ? 0 : r;
		if (r)
			thin_files_error(f, file, "remove", r, e);
	}
	return r;
}

static int sync_files(struct thin_files *f, const struct thin_intent *in,
		      struct thin_error *e)
{
	char file[THIN_VOLUME_FILE_MAX] = "";
	int r = 0;

	if (f->many && in->nr_put >= f->many)
		r = f->ops->sync_all(f);
	else
		for (size_t i = 0; !r && i < in->nr_put; i++)
			r = f->ops->sync(f, thin_volume_file(in->put[i]->name, file));
	return r ? thin_files_error(f, file, "write", r, e) : 0;
}

int thin_place_sync(struct thin_files *f, const struct thin_intent *in,
		    struct thin_error *e)
{
	int r = sync_files(f, in, e);

	if (r)
		return r;
	r = f->ops->sync_folder(f);
	return r ? thin_files_error(f, "", "write", r, e) : 0;
}
