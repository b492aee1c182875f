/* SPDX-License-Identifier: BSD-3-Clause */
/* An intent on disk: its file, and the order of the steps (intent.h). */
#include "registry/intent.h"

#include "registry/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#define TMP_INTENT   THIN_FILES_TMP THIN_INTENT_FILE
#define TMP_FILE_MAX (sizeof(THIN_FILES_TMP) + THIN_VOLUME_FILE_MAX)

/* What a volume's file is called until it is renamed.  Returns @buf. */
static char *tmp_file(const char *name, char buf[static TMP_FILE_MAX])
{
	char file[THIN_VOLUME_FILE_MAX];

	sprintf(buf, THIN_FILES_TMP "%s", thin_volume_file(name, file));
	return buf;
}

/* ---- text ---- */

static void print_ids(FILE *out, const char *key, const struct thin_ids *ids)
{
	fprintf(out, "%s = [ ", key);
	for (size_t i = 0; i < ids->nr; i++)
		fprintf(out, "%s%" PRIu32, i ? ", " : "", ids->at[i]);
	fputs(" ];\n", out);
}

static int print_intent(const struct thin_intent *in, char **ret_text, size_t *ret_len)
{
	struct thin_text t;
	int r;

	r = thin_text_open(&t);
	if (r)
		return r;
	fputs("# A change in progress; the next start finishes or drops it.\n", t.out);
	print_ids(t.out, "appear", &in->appear);
	print_ids(t.out, "vanish", &in->vanish);
	fputs("remove = ( ", t.out);
	for (size_t i = 0; i < in->nr_remove; i++) {
		fputs(i ? ", " : "", t.out);
		thin_conf_quote(t.out, in->remove[i]);
	}
	fputs(" );\nput = ( ", t.out);
	for (size_t i = 0; i < in->nr_put; i++) {
		fputs(i ? ",\n  " : "", t.out);
		thin_volume_conf_write_group(t.out, in->put[i]);
	}
	fputs(" );\n", t.out);
	return thin_text_close(&t, ret_text, ret_len);
}

/* The member @key of the root; NULL, and an error, where it is not of @type. */
static const config_setting_t *find_list(const struct thin_conf *c, const char *key,
					 int type, struct thin_error *e)
{
	const config_setting_t *root = config_root_setting(&c->config);
	const config_setting_t *s = config_setting_get_member(root, key);

	if (s && config_setting_type(s) == type)
		return s;
	(void)thin_error_set(e, 0, "%s: \"%s\" is missing or no list", c->where, key);
	return NULL;
}

static int parse_ids(const struct thin_conf *c, const char *key, struct thin_ids *ret,
		     struct thin_error *e)
{
	const config_setting_t *list = find_list(c, key, CONFIG_TYPE_ARRAY, e);

	if (!list)
		return -EINVAL;
	ret->at = calloc((size_t)config_setting_length(list) + 1, sizeof(*ret->at));
	if (!ret->at)
		return -ENOMEM;
	for (int i = 0; i < config_setting_length(list); i++) {
		const config_setting_t *s = config_setting_get_elem(list, (unsigned)i);
		int id = config_setting_get_int(s);

		if (config_setting_type(s) != CONFIG_TYPE_INT || id < 0)
			return thin_conf_error(c, s, e, -EINVAL, "not a device");
		ret->at[ret->nr++] = (uint32_t)id;
	}
	return 0;
}

static int parse_remove(const struct thin_conf *c, struct thin_intent *in,
			struct thin_error *e)
{
	const config_setting_t *list = find_list(c, "remove", CONFIG_TYPE_LIST, e);

	if (!list)
		return -EINVAL;
	in->remove = calloc((size_t)config_setting_length(list) + 1, sizeof(*in->remove));
	if (!in->remove)
		return -ENOMEM;
	for (int i = 0; i < config_setting_length(list); i++) {
		const config_setting_t *s = config_setting_get_elem(list, (unsigned)i);
		const char *name = config_setting_get_string(s);
		char file[THIN_NAME_MAX + sizeof(".conf")], again[THIN_NAME_MAX + 1];

		/* It becomes a file name: only what volume files are called. */
		if (!name ||
		    snprintf(file, sizeof(file), "%s.conf", name) >= (int)sizeof(file) ||
		    !thin_volume_of_file(file, again))
			return thin_conf_error(c, s, e, -EINVAL, "not a volume name");
		in->remove[in->nr_remove] = strdup(name);
		if (!in->remove[in->nr_remove])
			return -ENOMEM;
		in->nr_remove++;
	}
	return 0;
}

static int parse_put(const struct thin_conf *c, struct thin_intent *in,
		     struct thin_error *e)
{
	const config_setting_t *list = find_list(c, "put", CONFIG_TYPE_LIST, e);
	int r;

	if (!list)
		return -EINVAL;
	in->put = calloc((size_t)config_setting_length(list) + 1, sizeof(*in->put));
	if (!in->put)
		return -ENOMEM;
	for (int i = 0; i < config_setting_length(list); i++) {
		const config_setting_t *s = config_setting_get_elem(list, (unsigned)i);

		r = thin_volume_conf_read_group(c, s, &in->put[in->nr_put], e);
		if (r)
			return r;
		in->nr_put++;
	}
	return 0;
}

static int parse_intent(const struct thin_conf *c, struct thin_intent *in,
			struct thin_error *e)
{
	int r;

	r = parse_ids(c, "appear", &in->appear, e);
	if (!r)
		r = parse_ids(c, "vanish", &in->vanish, e);
	if (!r)
		r = parse_remove(c, in, e);
	if (!r)
		r = parse_put(c, in, e);
	return r;
}

int thin_intent_load(struct thin_files *f, struct thin_intent *ret, struct thin_error *e)
{
	_cleanup_free char *text = NULL, *where = NULL;
	struct thin_intent in = {0};
	struct thin_conf c;
	size_t len;
	int r;

	r = thin_files_read(f, THIN_INTENT_FILE, THIN_INTENT_BYTES, &text, &len, e);
	if (r)
		return r;
	if (asprintf(&where, "%s/" THIN_INTENT_FILE, f->where) < 0) {
		where = NULL;
		return -ENOMEM;
	}
	r = thin_conf_parse(&c, where, text, len, e);
	if (r)
		return r;
	r = parse_intent(&c, &in, e);
	thin_conf_fini(&c);
	if (r)
		thin_intent_fini(&in);
	else
		*ret = in;
	return r;
}

/* ---- steps ---- */

/* From so many files on one sync for all is cheaper than one for each. */
#define SYNC_TOGETHER 6

static int write_new_file(struct thin_files *f, const struct thin_volume_conf *v,
			  bool and_sync, struct thin_error *e)
{
	_cleanup_free char *text = NULL;
	char tmp[TMP_FILE_MAX];
	size_t len;
	int r;

	r = thin_volume_conf_print(v, &text, &len);
	if (r)
		return r;
	(void)tmp_file(v->name, tmp);
	if (and_sync)
		return thin_files_write(f, tmp, text, len, e);
	r = f->ops->write(f, tmp, text, len);
	return r ? thin_files_error(f, tmp, "write", r, e) : 0;
}

static int write_new_files(struct thin_files *f, const struct thin_intent *in,
			   struct thin_error *e)
{
	bool together = in->nr_put >= SYNC_TOGETHER && f->ops->sync_all;
	int r = 0;

	for (size_t i = 0; i < in->nr_put && !r; i++)
		r = write_new_file(f, in->put[i], !together, e);
	if (r || !together)
		return r;
	r = f->ops->sync_all(f);
	return r ? thin_files_error(f, "", "write", r, e) : 0;
}

/* They mean nothing: what can not be removed now is removed at the next open. */
static void remove_new_files(struct thin_files *f, const struct thin_intent *in)
{
	char tmp[TMP_FILE_MAX];

	(void)f->ops->unlink(f, TMP_INTENT);
	for (size_t i = 0; i < in->nr_put; i++)
		(void)f->ops->unlink(f, tmp_file(in->put[i]->name, tmp));
}

static int write_intent(struct thin_files *f, const struct thin_intent *in,
			struct thin_error *e)
{
	_cleanup_free char *text = NULL;
	size_t len;
	int r;

	r = print_intent(in, &text, &len);
	if (r)
		return r;
	if (len > THIN_INTENT_BYTES)
		return thin_error_set(e, -EDQUOT, "too many volumes in one change");
	r = thin_files_write(f, TMP_INTENT, text, len, e);
	if (r)
		return r;
	r = f->ops->rename(f, TMP_INTENT, THIN_INTENT_FILE);
	return r ? thin_files_error(f, THIN_INTENT_FILE, "make", r, e) : 0;
}

static int sync_folder(struct thin_files *f, struct thin_error *e)
{
	int r = f->ops->sync_folder(f);

	return r ? thin_files_error(f, "", "write", r, e) : 0;
}

static int remove_file(struct thin_files *f, const char *name, struct thin_error *e)
{
	int r = f->ops->unlink(f, name);

	return r && r != -ENOENT ? thin_files_error(f, name, "remove", r, e) : 0;
}

int thin_intent_withdraw(struct thin_files *f, const struct thin_intent *in,
			 struct thin_error *e)
{
	int r;

	r = remove_file(f, THIN_INTENT_FILE, e);
	if (!r)
		r = sync_folder(f, e);
	if (!r)
		remove_new_files(f, in);
	return r;
}

int thin_intent_store(struct thin_files *f, const struct thin_intent *in,
		      bool *ret_unsure, struct thin_error *e)
{
	int r;

	*ret_unsure = false;
	r = write_new_files(f, in, e);
	if (!r)
		r = write_intent(f, in, e);
	if (r) {
		remove_new_files(f, in);
		return r;
	}
	r = sync_folder(f, e);
	if (r) {
		/* It stays unsure; but if nothing crashes, it is gone. */
		*ret_unsure = true;
		(void)f->ops->unlink(f, THIN_INTENT_FILE);
		(void)f->ops->sync_folder(f);
		remove_new_files(f, in);
	}
	return r;
}

static int move_files(struct thin_files *f, const struct thin_intent *in,
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
	for (size_t i = 0; !r && i < in->nr_remove; i++)
		r = remove_file(f, thin_volume_file(in->remove[i], file), e);
	return r;
}

/* A sync of the folder after which, where it fails, nothing is sure (F4). */
static int sync_or_unsure(struct thin_files *f, bool *ret_unsure, struct thin_error *e)
{
	int r = sync_folder(f, e);

	*ret_unsure = r;
	return r;
}

int thin_intent_apply(struct thin_files *f, const struct thin_intent *in, bool fresh,
		      bool *ret_unsure, struct thin_error *e)
{
	int r = 0;

	*ret_unsure = false;
	if (!fresh)
		r = write_new_files(f, in, e);
	if (!r)
		r = move_files(f, in, e);
	if (!r)
		r = sync_or_unsure(f, ret_unsure, e);
	if (!r)
		r = remove_file(f, THIN_INTENT_FILE, e);
	if (!r)
		r = sync_or_unsure(f, ret_unsure, e);
	return r;
}
