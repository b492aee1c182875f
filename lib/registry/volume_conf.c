/* SPDX-License-Identifier: BSD-3-Clause */
#include "registry/volume_conf.h"

#include "registry/name.h"
#include "registry/text.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>

#define TOMBSTONE ".deleting-"

static int check_origin(const char *text, struct thin_error *e)
{
	if (strlen(text) > THIN_ORIGIN_MAX)
		return thin_error_set(e, -EDQUOT, "longer than %d bytes",
				      THIN_ORIGIN_MAX);
	return 0;
}

static int check_description(const char *text, struct thin_error *e)
{
	return thin_text_check(text, THIN_DESCRIPTION_MAX, e);
}

#define AT(member) .offset = offsetof(struct thin_volume_conf, member)

/* In a file the name is the file's; in the intent it comes first. */
static const struct thin_conf_key group_keys[] = {
	{"name", THIN_CONF_STRING, AT(name)},
	{"device", THIN_CONF_NUMBER, AT(device), .max = THIN_MAX_DEVICE_ID},
	{"size", THIN_CONF_SIZE, AT(size), .min = 1, .max = THIN_MAX_VOLUME_SIZE},
	{"origin", THIN_CONF_STRING, AT(origin), "", .check = check_origin},
	{"origin_path", THIN_CONF_STRING, AT(origin_path), "", .check = check_origin},
	{"origin_size", THIN_CONF_U64, AT(origin_size), "0"},
	{"origin_inode", THIN_CONF_U64, AT(origin_inode), "0"},
	{"origin_mtime_ns", THIN_CONF_S64, AT(origin_mtime_ns), "0"},
	{"origin_ctime_ns", THIN_CONF_S64, AT(origin_ctime_ns), "0"},
	{"origin_overlap", THIN_CONF_U64, AT(origin_overlap), "0"},
	{"parent", THIN_CONF_STRING, AT(parent), ""},
	{"readonly", THIN_CONF_BOOL, AT(readonly), "false"},
	{"created", THIN_CONF_TIME, AT(created)},
	{"description", THIN_CONF_STRING, AT(description), "",
	 .check = check_description},
	{"reserve", THIN_CONF_SIZE, AT(reserve), "0", .max = THIN_MAX_VOLUME_SIZE},
	{"shrinking", THIN_CONF_BOOL, AT(shrinking), "false"},
	{"flattening", THIN_CONF_BOOL, AT(flattening), "false"},
	{"born", THIN_CONF_STRING, AT(born), "", .check = check_description},
	{.name = NULL},
};

static const struct thin_conf_key *const file_keys = group_keys + 1;

int thin_volume_conf_new(const char *name, struct thin_volume_conf **ret)
{
	_cleanup_volume_conf struct thin_volume_conf *v = calloc(1, sizeof(*v));

	if (!v)
		return -ENOMEM;
	atomic_init(&v->references, 1);
	v->device = THIN_NO_DEVICE;
	v->name = strdup(name);
	if (!v->name)
		return -ENOMEM;
	*ret = thin_steal(v);
	return 0;
}

/* Others may count references to @v meanwhile: that member is not copied. */
int thin_volume_conf_copy(const struct thin_volume_conf *v, struct thin_volume_conf **ret)
{
	_cleanup_volume_conf struct thin_volume_conf *copy = calloc(1, sizeof(*copy));
	int r;

	if (!copy)
		return -ENOMEM;
	memcpy(copy, v, offsetof(struct thin_volume_conf, references));
	atomic_init(&copy->references, 1);
	copy->problem = NULL;
	r = thin_conf_own_strings(group_keys, copy);
	if (!r)
		r = thin_string_set(&copy->problem, v->problem);
	if (r)
		return r;
	*ret = thin_steal(copy);
	return 0;
}

const struct thin_volume_conf *thin_volume_conf_get(const struct thin_volume_conf *v)
{
	atomic_fetch_add(&((struct thin_volume_conf *)v)->references, 1);
	return v;
}

void thin_volume_conf_put(const struct thin_volume_conf *v)
{
	struct thin_volume_conf *mine = (struct thin_volume_conf *)v;

	if (!v || atomic_fetch_sub(&mine->references, 1) > 1)
		return;
	thin_conf_free(group_keys, mine);
	free(mine->problem);
	free(mine);
}

int thin_string_set(char **field, const char *value)
{
	char *copy = NULL;

	if (value && *value && !(copy = strdup(value)))
		return -ENOMEM;
	free(*field);
	*field = copy;
	return 0;
}

bool thin_is_tombstone(const char *name)
{
	return !strncmp(name, TOMBSTONE, sizeof(TOMBSTONE) - 1);
}

static char *tombstone_name(uint32_t device, char buf[static THIN_NAME_MAX + 1])
{
	snprintf(buf, THIN_NAME_MAX + 1, TOMBSTONE "%" PRIu32, device);
	return buf;
}

int thin_volume_conf_tombstone(const struct thin_volume_conf *v, const char *born,
			       struct thin_volume_conf **ret)
{
	_cleanup_volume_conf struct thin_volume_conf *t = NULL;
	char name[THIN_NAME_MAX + 1];
	int r;

	r = thin_volume_conf_copy(v, &t);
	if (!r)
		r = thin_string_set(&t->name, tombstone_name(v->device, name));
	if (!r)
		r = thin_string_set(&t->parent, NULL);
	if (!r)
		r = thin_string_set(&t->born, born);
	if (r)
		return r;
	*ret = thin_steal(t);
	return 0;
}

static int check_name(const struct thin_volume_conf *v, struct thin_error *e)
{
	char name[THIN_NAME_MAX + 1];

	if (!thin_is_tombstone(v->name))
		return thin_name_check(v->name, e);
	if (strcmp(v->name, tombstone_name(v->device, name)))
		return thin_error_set(e, -EINVAL,
				      "%s: its name is not that of device %" PRIu32,
				      v->name, v->device);
	return 0;
}

static int check_numbers(const struct thin_volume_conf *v, struct thin_error *e)
{
	if (v->device > THIN_MAX_DEVICE_ID)
		return thin_error_set(e, -ERANGE, "%s: there is no device %" PRIu32,
				      v->name, v->device);
	if (!v->size)
		return thin_error_set(e, -EINVAL, "%s: a volume can not have size zero",
				      v->name);
	if (v->size > THIN_MAX_VOLUME_SIZE || v->reserve > THIN_MAX_VOLUME_SIZE)
		return thin_error_set(e, -ERANGE,
				      "%s: a volume can not be larger than 64P", v->name);
	return 0;
}

/* Strings have their checks in the table. */
static int check_strings(const struct thin_volume_conf *v, struct thin_error *e)
{
	for (const struct thin_conf_key *key = file_keys; key->name; key++) {
		struct thin_error detail = {""};
		char buf[THIN_CONF_TEXT];
		int r;

		if (!key->check)
			continue;
		r = key->check(thin_conf_text(key, v, buf), &detail);
		if (r)
			return thin_error_set(e, r, "%s: %s: %s", v->name, key->name,
					      detail.text);
	}
	return 0;
}

int thin_volume_conf_check(const struct thin_volume_conf *v, struct thin_error *e)
{
	int r;

	r = check_name(v, e);
	if (!r)
		r = check_numbers(v, e);
	if (!r)
		r = check_strings(v, e);
	return r;
}

char *thin_volume_file(const char *name, char buf[static THIN_VOLUME_FILE_MAX])
{
	assert(strlen(name) <= THIN_NAME_MAX);
	sprintf(buf, "%s.conf", name);
	return buf;
}

bool thin_volume_of_file(const char *file, char ret[static THIN_NAME_MAX + 1])
{
	size_t len = strlen(file), suffix = strlen(".conf");

	if (len <= suffix || len - suffix > THIN_NAME_MAX ||
	    strcmp(file + len - suffix, ".conf"))
		return false;
	memcpy(ret, file, len - suffix);
	ret[len - suffix] = '\0';
	return thin_is_tombstone(ret) || !thin_name_check(ret, NULL);
}

int thin_volume_conf_print(const struct thin_volume_conf *v, char **ret_text,
			   size_t *ret_len)
{
	struct thin_text t;
	int r;

	r = thin_text_open(&t);
	if (r)
		return r;
	fputs("# A thinbd volume.  To change it: `thinbd set`, `thinbd resize` ...\n",
	      t.out);
	thin_conf_write_all(t.out, file_keys, v, "\n");
	return thin_text_close(&t, ret_text, ret_len);
}

int thin_volume_conf_parse(const char *name, const char *where, const char *text,
			   size_t len, struct thin_volume_conf **ret,
			   struct thin_error *e)
{
	_cleanup_volume_conf struct thin_volume_conf *v = NULL;
	struct thin_error detail = {""};
	struct thin_conf c;
	int r;

	r = thin_volume_conf_new(name, &v);
	if (r)
		return r;
	r = thin_conf_parse(&c, where, text, len, e);
	if (r)
		return r;
	r = thin_conf_read(&c, config_root_setting(&c.config), file_keys, v, e);
	thin_conf_fini(&c);
	if (r)
		return r;
	r = thin_volume_conf_check(v, &detail);
	if (r)
		return thin_error_set(e, r, "%s: %s", where, detail.text);
	*ret = thin_steal(v);
	return 0;
}

void thin_volume_conf_write_group(FILE *out, const struct thin_volume_conf *v)
{
	fputs("{ ", out);
	thin_conf_write_all(out, group_keys, v, " ");
	fputs("}", out);
}

int thin_volume_conf_read_group(const struct thin_conf *c, const config_setting_t *group,
				struct thin_volume_conf **ret, struct thin_error *e)
{
	_cleanup_volume_conf struct thin_volume_conf *v = NULL;
	struct thin_error detail = {""};
	int r;

	if (!config_setting_is_group(group))
		return thin_conf_error(c, group, e, -EINVAL, "not a volume");
	r = thin_volume_conf_new("", &v);
	if (!r)
		r = thin_conf_read(c, group, group_keys, v, e);
	if (r)
		return r;
	r = thin_volume_conf_check(v, &detail);
	if (r)
		return thin_conf_error(c, group, e, r, "%s", detail.text);
	*ret = thin_steal(v);
	return 0;
}
