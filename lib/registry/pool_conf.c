/* SPDX-License-Identifier: BSD-3-Clause */
#include "registry/pool_conf.h"

#include "registry/conf.h"
#include "registry/conf_scan.h"
#include "registry/text.h"
#include "util/limits.h"
#include "util/uri.h"

#include <errno.h>
#include <inttypes.h>
#include <string.h>

/* More than people write into one. */
#define CONF_BYTES ((size_t)1 << 20)

#define YEAR (366 * 24 * 60 * 60)

static int check_uuid(const char *text, struct thin_error *e)
{
	static const char form[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
	size_t i;

	for (i = 0; form[i] && text[i]; i++)
		if (form[i] == '-' ? text[i] != '-'
				   : !strchr("0123456789abcdefABCDEF", text[i]))
			break;
	if (form[i] || text[i])
		return thin_error_set(e, -EINVAL, "\"%.64s\" is not a UUID", text);
	return 0;
}

static int check_path(const char *text, struct thin_error *e)
{
	if (thin_is_uri(text))
		return thin_error_set(e, -EINVAL,
				      "must be a path: metadata can not be remote");
	return 0;
}

static const char *const when_full_words[] = {"queue", "error", NULL};
static const char *const discard_words[] = {"passdown", "nopassdown", "ignore", NULL};
static const char *const io_words[] = {"auto", "io_uring", "sync", NULL};

#define AT(member) .offset = offsetof(struct thin_pool_conf, member)

static const struct thin_conf_key keys[] = {
	{"version", THIN_CONF_NUMBER, AT(version), .min = 1, .max = 1},
	{"uuid", THIN_CONF_STRING, AT(uuid), .check = check_uuid},
	{"metadata", THIN_CONF_STRING, AT(metadata), "metadata", .check = check_path},
	{"data", THIN_CONF_STRING, AT(data), "data"},
	{"metadata_cache", THIN_CONF_SIZE, AT(metadata_cache), "64M",
	 .min = THIN_MIN_METADATA_CACHE, .max = UINT64_C(1) << 40},
	{"low_water", THIN_CONF_AMOUNT, AT(low_water), "10%"},
	{"auto_extend_step", THIN_CONF_AMOUNT, AT(auto_extend_step), "10%"},
	{"auto_extend_limit", THIN_CONF_LIMIT, AT(auto_extend_limit), "none", .min = 1,
	 .max = INT64_MAX},
	{"when_full", THIN_CONF_CHOICE, AT(when_full), "queue",
	 .choices = when_full_words},
	{"no_space_timeout", THIN_CONF_NUMBER, AT(no_space_timeout), "60", .max = YEAR},
	{"discard", THIN_CONF_CHOICE, AT(discard), "passdown", .choices = discard_words},
	{"commit_interval", THIN_CONF_NUMBER, AT(commit_interval), "1", .min = 1,
	 .max = 3600},
	{"io", THIN_CONF_CHOICE, AT(io), "auto", .choices = io_words},
	{"direct", THIN_CONF_BOOL, AT(direct), "false"},
	{"keep_metadata_backups", THIN_CONF_NUMBER, AT(keep_metadata_backups), "0",
	 .max = 1000},
	{"metadata_backup_interval", THIN_CONF_NUMBER, AT(metadata_backup_interval),
	 "3600", .min = 1, .max = YEAR},
	{.name = NULL},
};

/* What a new file says about each, in the order of the keys. */
static const char *const remarks[] = {
	"of this file",
	"of this pool",
	"path: relative to this folder, or absolute",
	"path or NBD URI",
	"memory for metadata blocks",
	"of free data or metadata: from here on it warns, and extends",
	"\"0\" = off; for metadata and data files that thinbd made",
	"a size",
	"\"queue\" or \"error\"",
	"seconds that queued writers wait; 0 = for ever",
	"\"passdown\", \"nopassdown\" or \"ignore\"",
	"seconds between commits that nobody asked for",
	"\"auto\", \"io_uring\" or \"sync\"",
	"O_DIRECT for the data device",
	"in the folder \"backups\"; 24 is a day's",
	"seconds between two of them, at least",
};

_Static_assert(sizeof(remarks) / sizeof(*remarks) + 1 == sizeof(keys) / sizeof(*keys),
	       "a remark for each key");

int thin_pool_conf_init(struct thin_pool_conf *conf)
{
	*conf = (struct thin_pool_conf){.version = 1};
	return thin_conf_defaults(keys, conf);
}

void thin_pool_conf_fini(struct thin_pool_conf *conf)
{
	thin_conf_free(keys, conf);
}

void thin_uuid_print(const uint8_t random[static 16], char ret[static THIN_UUID_TEXT])
{
	uint8_t b[16];

	memcpy(b, random, sizeof(b));
	b[6] = (b[6] & 0x0f) | 0x40; /* version 4 */
	b[8] = (b[8] & 0x3f) | 0x80; /* the usual variant */
	for (size_t i = 0; i < sizeof(b); i++)
		ret += sprintf(ret, "%02x%s", b[i],
			       i == 3 || i == 5 || i == 7 || i == 9 ? "-" : "");
}

static int unknown_key(const char *name, struct thin_error *e)
{
	_cleanup_free char *list = NULL;
	struct thin_text t;
	int r;

	r = thin_text_open(&t);
	if (r)
		return r;
	for (const struct thin_conf_key *key = keys; key->name; key++)
		fprintf(t.out, "%s%s", key == keys ? "" : ", ", key->name);
	r = thin_text_close(&t, &list, NULL);
	if (r)
		return r;
	return thin_error_set(e, -EINVAL, "unknown key \"%.64s\": there are %s", name,
			      list);
}

/* The key and the value of "KEY=VALUE"; the latter points into @setting. */
static int split_setting(const char *setting, const struct thin_conf_key **ret_key,
			 const char **ret_value, struct thin_error *e)
{
	const char *equals = strchr(setting, '=');
	_cleanup_free char *name = NULL;

	if (!equals)
		return thin_error_set(e, -EINVAL, "\"%.64s\" is not KEY=VALUE", setting);
	name = strndup(setting, (size_t)(equals - setting));
	if (!name)
		return -ENOMEM;
	*ret_key = thin_conf_find(keys, name);
	*ret_value = equals + 1;
	return *ret_key ? 0 : unknown_key(name, e);
}

static int set_key(const struct thin_conf_key *key, const char *value,
		   struct thin_pool_conf *conf, struct thin_error *e)
{
	struct thin_error detail = {""};
	int r;

	r = thin_conf_set(key, value, conf, &detail);
	return r ? thin_error_set(e, r, "%s: %s", key->name, detail.text) : 0;
}

int thin_pool_conf_set(struct thin_pool_conf *conf, const char *setting,
		       struct thin_error *e)
{
	const struct thin_conf_key *key;
	const char *value;
	int r;

	r = split_setting(setting, &key, &value, e);
	return r ? r : set_key(key, value, conf, e);
}

/* The file's text, and what it says. */
static int read_conf(struct thin_files *f, char **ret_text, struct thin_pool_conf *ret,
		     struct thin_error *e)
{
	_cleanup_free char *text = NULL, *where = NULL;
	_cleanup_pool_conf struct thin_pool_conf conf = {0};
	struct thin_conf c;
	size_t len;
	int r;

	r = thin_files_read(f, THIN_POOL_CONF, CONF_BYTES, &text, &len, e);
	if (r == -ENOENT)
		return thin_error_set(e, -EMEDIUMTYPE,
				      "%s: is no pool: it has no " THIN_POOL_CONF
				      " (`thinbd init` makes one)",
				      f->where);
	if (r)
		return r;
	if (asprintf(&where, "%s/" THIN_POOL_CONF, f->where) < 0) {
		where = NULL;
		return -ENOMEM;
	}
	r = thin_conf_parse(&c, where, text, len, e);
	if (r)
		return r;
	r = thin_conf_read(&c, config_root_setting(&c.config), keys, &conf, e);
	thin_conf_fini(&c);
	if (r)
		return r;
	*ret_text = thin_steal(text);
	*ret = conf;
	conf = (struct thin_pool_conf){0};
	return 0;
}

int thin_pool_conf_read(struct thin_files *f, struct thin_pool_conf *ret,
			struct thin_error *e)
{
	_cleanup_free char *text = NULL;

	return read_conf(f, &text, ret, e);
}

static void print_line(FILE *out, const struct thin_conf_key *key, const char *remark,
		       const struct thin_pool_conf *conf)
{
	char buf[THIN_CONF_TEXT];
	const char *text = thin_conf_text(key, conf, buf);

	if (key->fallback && !strcmp(text, key->fallback))
		fputs("# ", out);
	thin_conf_write(out, key, conf, "");
	fprintf(out, "  # %s\n", remark);
}

int thin_pool_conf_write(struct thin_files *f, const struct thin_pool_conf *conf,
			 struct thin_error *e)
{
	_cleanup_free char *text = NULL;
	struct thin_text t;
	size_t len;
	int r;

	r = thin_text_open(&t);
	if (r)
		return r;
	fputs("# A thinbd pool.  What begins with a # is the default.\n", t.out);
	for (size_t i = 0; keys[i].name; i++)
		print_line(t.out, &keys[i], remarks[i], conf);
	r = thin_text_close(&t, &text, &len);
	if (r)
		return r;
	return thin_files_replace(f, THIN_POOL_CONF, text, len, e);
}

/* The value that @key has in @conf, as it stands in a file.  free() it. */
static int file_value(const struct thin_conf_key *key, const struct thin_pool_conf *conf,
		      char **ret)
{
	struct thin_text t;
	char *line;
	int r;

	r = thin_text_open(&t);
	if (r)
		return r;
	thin_conf_write_value(t.out, key, conf);
	r = thin_text_close(&t, &line, NULL);
	if (!r)
		*ret = line;
	return r;
}

/* Write @text, which differs from the one that is there in @key only. */
static int write_edited(struct thin_files *f, const char *text,
			const struct thin_conf_key *key,
			const struct thin_pool_conf *conf, struct thin_error *e)
{
	_cleanup_free char *value = NULL, *edited = NULL;
	int r;

	r = file_value(key, conf, &value);
	if (!r)
		r = thin_conf_edit(text, key->name, value, &edited);
	if (r)
		return thin_error_set(e, r,
				      "%s/" THIN_POOL_CONF ": can not be edited: %s",
				      f->where, thin_strerror(r));
	return thin_files_replace(f, THIN_POOL_CONF, edited, strlen(edited), e);
}

int thin_pool_conf_change(struct thin_files *f, const char *setting, struct thin_error *e)
{
	_cleanup_pool_conf struct thin_pool_conf conf = {0};
	_cleanup_free char *text = NULL, *before = NULL;
	char buf[THIN_CONF_TEXT];
	const struct thin_conf_key *key;
	const char *value;
	int r;

	r = split_setting(setting, &key, &value, e);
	if (!r)
		r = read_conf(f, &text, &conf, e);
	if (r)
		return r;
	before = strdup(thin_conf_text(key, &conf, buf));
	if (!before)
		return -ENOMEM;
	r = set_key(key, value, &conf, e);
	if (r || !strcmp(before, thin_conf_text(key, &conf, buf)))
		return r;
	return write_edited(f, text, key, &conf, e);
}

int thin_pool_conf_locate(const char *dir, const char *where, char **ret)
{
	bool whole = *where == '/' || thin_is_uri(where);
	char *path;

	if (asprintf(&path, "%s%s%s", whole ? "" : dir, whole ? "" : "/", where) < 0)
		return -ENOMEM;
	*ret = path;
	return 0;
}
