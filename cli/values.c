/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Values of arguments, as a request has them.  Whoever serves the pool runs in
 * another folder, so paths are made absolute here; what is malformed is wrong
 * usage, and does not get that far.
 */
#include "cli.h"
#include "print.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* @path from this folder, where there is no better way to say it. */
static char *beside_here(const char *path)
{
	char *here = must_have(getcwd(NULL, 0));
	char *result = made_text("%s/%s", here, path);

	free(here);
	return result;
}

char *cli_absolute(const char *path)
{
	char *whole, *folder_of, *last_of, *folder, *last, *result;

	if (path[0] == '/' || !path[0])
		return must_have(strdup(path));
	folder_of = must_have(strdup(path));
	last_of = must_have(strdup(path));
	folder = realpath(dirname(folder_of), NULL);
	last = basename(last_of);
	/* A link that the path itself is stays: it may be pointed elsewhere. */
	if (!strcmp(last, ".") || !strcmp(last, ".."))
		whole = realpath(path, NULL);
	else
		whole = folder ? made_text("%s/%s", strcmp(folder, "/") ? folder : "",
					   last)
			       : NULL;
	result = whole ? whole : beside_here(path);
	free(folder_of);
	free(last_of);
	free(folder);
	return result;
}

/* A path, or "thin:NAME" and a URI, which are the same from everywhere. */
static char *absolute_origin(const char *origin)
{
	if (!strncmp(origin, "thin:", 5) || thinbd_is_uri(origin))
		return must_have(strdup(origin));
	return cli_absolute(origin);
}

/* KEY=VALUE; the value of "origin" is a path to whoever serves the pool. */
static char *absolute_setting(const char *setting)
{
	static const char key[] = "origin=";
	char *origin, *result;

	if (strncmp(setting, key, sizeof(key) - 1) != 0)
		return must_have(strdup(setting));
	origin = absolute_origin(setting + sizeof(key) - 1);
	result = made_text("%s%s", key, origin);
	free(origin);
	return result;
}

/* A rate is a size by the second, which need not be said: it goes without. */
static char *plain_rate(const char *text)
{
	size_t len = strlen(text);

	if (len > 2 && !strcmp(text + len - 2, "/s"))
		len -= 2;
	return must_have(strndup(text, len));
}

static bool is_size(const char *text)
{
	uint64_t bytes;

	return thinbd_parse_size(text, &bytes) != -EINVAL;
}

static bool is_choice(const char *text, const char *choices)
{
	size_t len = strlen(text);

	for (const char *c = choices; c; c = strchr(c, '|')) {
		c += *c == '|';
		if (len && !strncmp(c, text, len) && (!c[len] || c[len] == '|'))
			return true;
	}
	return false;
}

/* As it is sent; free() it. */
static char *sent_value(enum thinbd_kind kind, const char *text)
{
	switch (kind) {
	case THINBD_KIND_RATE:
		return plain_rate(text);
	case THINBD_KIND_PATH:
		return cli_absolute(text);
	case THINBD_KIND_ORIGIN:
		return absolute_origin(text);
	case THINBD_KIND_SETTING:
		return absolute_setting(text);
	default:
		return must_have(strdup(text));
	}
}

static int check_value(const struct cli *c, const struct thinbd_param *p,
		       const char *value)
{
	bool size = p->kind == THINBD_KIND_SIZE || p->kind == THINBD_KIND_RATE;

	if (size && !is_size(value))
		return cli_usage(
			c, "%s: no size; want bytes, or a number with K M G T P or E",
			value);
	if (p->kind == THINBD_KIND_CHOICE && !is_choice(value, p->choices))
		return cli_usage(c, "%s: want one of %s", value, p->choices);
	if (p->kind == THINBD_KIND_SETTING && (!strchr(value, '=') || value[0] == '='))
		return cli_usage(c, "%s: want KEY=VALUE", value);
	return CLI_DONE;
}

struct json_object *cli_value(const struct cli *c, const struct thinbd_param *p,
			      const char *text)
{
	char *value = sent_value(p->kind, text);
	struct json_object *o = NULL;

	if (!check_value(c, p, value))
		o = must_have(json_object_new_string(value));
	free(value);
	return o;
}
