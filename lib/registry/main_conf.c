/* SPDX-License-Identifier: BSD-3-Clause */
/* thinbd.conf, which has a single key. */
#include "registry/pool_conf.h"

#include "registry/conf.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#define CONF_BYTES ((size_t)1 << 16)

struct main_conf {
	char *pool;
};

/* What a relative path would be relative to depends on who reads it. */
static int check_absolute(const char *text, struct thin_error *e)
{
	if (*text != '/')
		return thin_error_set(e, -EINVAL, "must be an absolute path");
	return 0;
}

static const struct thin_conf_key keys[] = {
	{"pool", THIN_CONF_STRING, offsetof(struct main_conf, pool), "",
	 .check = check_absolute},
	{.name = NULL},
};

/* The text of the file at @path, which may be a symbolic link. */
static int read_text(const char *path, char **ret_text, size_t *ret_len,
		     struct thin_error *e)
{
	_cleanup_free char *real = realpath(path, NULL);
	_cleanup_files struct thin_files *f = NULL;
	char *slash;
	int r;

	if (!real)
		return thin_error_set(e, -errno, "cannot open %s: %s", path,
				      strerrordesc_np(errno));
	slash = strrchr(real, '/');
	*slash = '\0';
	r = thin_files_open(slash == real ? "/" : real, 0, &f, e);
	return r ? r : thin_files_read(f, slash + 1, CONF_BYTES, ret_text, ret_len, e);
}

int thin_main_conf_pool(const char *path, char **ret, struct thin_error *e)
{
	_cleanup_free char *text = NULL;
	struct main_conf conf = {0};
	struct thin_conf c;
	size_t len;
	int r;

	r = read_text(path, &text, &len, e);
	if (!r)
		r = thin_conf_parse(&c, path, text, len, e);
	if (r)
		return r;
	r = thin_conf_read(&c, config_root_setting(&c.config), keys, &conf, e);
	thin_conf_fini(&c);
	if (!r && !conf.pool)
		r = thin_error_set(e, -ENODATA, "%s: does not say which pool", path);
	if (r)
		thin_conf_free(keys, &conf);
	else
		*ret = conf.pool;
	return r;
}
