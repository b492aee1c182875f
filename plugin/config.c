/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Two styles: a pool folder (pool=, volume=), or dm-thin's table style with
 * every piece named.  nbdkit changes to / before it serves, so paths are made
 * absolute here.
 */
#include "config.h"

#define NBDKIT_API_VERSION 2
#include <nbdkit-plugin.h>

#include <stdlib.h>
#include <string.h>

static struct thinbd_params params;
static bool have_device;

/* The string parameters, and whether each is a path. */
static const struct {
	const char *key;
	const char **value;
	enum {
		TEXT,
		PATH,
		PATH_OR_URI
	} kind;
	bool table_style;
} strings[] = {
	{"pool", &params.dir, PATH, false},
	{"volume", &params.default_volume, TEXT, false},
	{"metadata", &params.metadata, PATH, true},
	{"data", &params.data, PATH_OR_URI, true},
	{"origin", &params.origin, PATH_OR_URI, true},
};

#define NR_STRINGS (sizeof(strings) / sizeof(strings[0]))

static int set_string(size_t i, const char *value)
{
	bool plain = strings[i].kind == TEXT ||
		     (strings[i].kind == PATH_OR_URI && thinbd_is_uri(value));

	if (*strings[i].value) {
		nbdkit_error("%s= was given twice", strings[i].key);
		return -1;
	}
	*strings[i].value = plain ? strdup(value) : nbdkit_absolute_path(value);
	if (!*strings[i].value) {
		nbdkit_error("%s=%s: %m", strings[i].key, value);
		return -1;
	}
	return 0;
}

static int set_size(const char *value, uint64_t *ret)
{
	int64_t size = nbdkit_parse_size(value);

	if (size < 0)
		return -1;
	if (size == 0) {
		nbdkit_error("a size must not be 0");
		return -1;
	}
	*ret = (uint64_t)size;
	return 0;
}

int config_set(const char *key, const char *value)
{
	for (size_t i = 0; i < NR_STRINGS; i++)
		if (!strcmp(key, strings[i].key))
			return set_string(i, value);
	if (!strcmp(key, "device")) {
		have_device = true;
		return nbdkit_parse_uint32_t("device", value, &params.device);
	}
	if (!strcmp(key, "size"))
		return set_size(value, &params.size);
	if (!strcmp(key, "block-size"))
		return set_size(value, &params.block_size);
	nbdkit_error("unknown parameter '%s'; see `nbdkit thin --help`", key);
	return -1;
}

static bool any_of_table_style(void)
{
	for (size_t i = 0; i < NR_STRINGS; i++)
		if (strings[i].table_style && *strings[i].value)
			return true;
	return have_device || params.size || params.block_size;
}

int config_check(void)
{
	bool table = any_of_table_style();

	if (table && (params.dir || params.default_volume)) {
		nbdkit_error(
			"pool= and volume= do not go together with metadata=, data=, "
			"device=, size=, origin= or block-size=: give a pool's "
			"folder, or the pieces");
		return -1;
	}
	if (!table && !params.dir) {
		nbdkit_error("no pool: give the folder of one (pool=DIR), or metadata=, "
			     "data=, device= and size=");
		return -1;
	}
	if (table && (!params.metadata || !params.data || !have_device || !params.size)) {
		nbdkit_error("metadata=, data=, device= and size= are needed, all four");
		return -1;
	}
	return 0;
}

const struct thinbd_params *config_params(void)
{
	return &params;
}

void config_free(void)
{
	for (size_t i = 0; i < NR_STRINGS; i++) {
		free((char *)*strings[i].value);
		*strings[i].value = NULL;
	}
}
