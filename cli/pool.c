/* SPDX-License-Identifier: BSD-3-Clause */
/* Which pool is meant: --pool, else $THINBD_POOL, else the configuration's. */
#include "cli.h"
#include "print.h"

#include <errno.h>
#include <libconfig.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* The configuration has one key, "pool"; any other is somebody's mistake. */
static int check_keys(const struct cli *c, const char *file, config_t *cfg)
{
	config_setting_t *root = config_root_setting(cfg);

	for (int i = 0; i < config_setting_length(root); i++) {
		config_setting_t *s = config_setting_get_elem(root, i);

		if (strcmp(config_setting_name(s), "pool") != 0)
			return cli_complain(c, CLI_COULD_NOT, "EINVAL",
					    "%s:%d: no such key '%s'; there is only pool",
					    file, config_setting_source_line(s),
					    config_setting_name(s));
		if (config_setting_type(s) != CONFIG_TYPE_STRING)
			return cli_complain(c, CLI_COULD_NOT, "EINVAL",
					    "%s:%d: want pool = \"FOLDER\";", file,
					    config_setting_source_line(s));
	}
	return CLI_DONE;
}

/* @pool, where it is relative, from the folder that @file is in. */
static char *beside(const char *file, const char *pool)
{
	char *whole, *result;

	if (pool[0] == '/')
		return must_have(strdup(pool));
	whole = cli_absolute(file);
	result = made_text("%s/%s", dirname(whole), pool);
	free(whole);
	return result;
}

static int read_config(struct cli *c, const char *file, config_t *cfg)
{
	const char *pool = NULL;
	int status;

	if (!config_read_file(cfg, file)) {
		if (config_error_type(cfg) == CONFIG_ERR_FILE_IO)
			return cli_complain(c, CLI_COULD_NOT, "ENOENT", "%s: %s", file,
					    strerror(errno ? errno : ENOENT));
		return cli_complain(c, CLI_COULD_NOT, "EINVAL", "%s:%d: %s", file,
				    config_error_line(cfg), config_error_text(cfg));
	}
	status = check_keys(c, file, cfg);
	if (!status && config_lookup_string(cfg, "pool", &pool) && *pool)
		c->pool = beside(file, pool);
	return status;
}

/* The default file need not be there; one that was named has to. */
static int pool_of_config(struct cli *c)
{
	const char *file = c->config ? c->config : CLI_DEFAULT_CONFIG;
	config_t cfg;
	int status = CLI_DONE;

	errno = 0;
	config_init(&cfg);
	if (c->config || access(file, F_OK) == 0)
		status = read_config(c, file, &cfg);
	config_destroy(&cfg);
	return status;
}

int cli_find_pool(struct cli *c)
{
	const char *pool = c->pool_option;
	int status = CLI_DONE;

	if (!pool)
		pool = getenv("THINBD_POOL");
	if (pool && *pool)
		c->pool = cli_absolute(pool);
	else
		status = pool_of_config(c);
	if (status || c->pool)
		return status;
	return cli_usage(c,
			 "no pool: give --pool DIR, or set THINBD_POOL, or `pool` in %s",
			 c->config ? c->config : CLI_DEFAULT_CONFIG);
}
