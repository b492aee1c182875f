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
	if (!strncmp(origin, "thin:", 5) || strstr(origin, "://"))
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

/* A rate is a size, by the second, which need not be said. */
static bool is_size(const char *text, enum thinbd_kind kind)
{
	char buf[SIZE_TEXT_MAX];
	size_t len = strlen(text);
	uint64_t bytes;

	if (kind == THINBD_KIND_RATE && len > 2 && !strcmp(text + len - 2, "/s"))
		len -= 2;
	if (len >= sizeof(buf))
		return false;
	memcpy(buf, text, len);
	buf[len] = '\0';
	return thinbd_parse_size(buf, &bytes) != -EINVAL;
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

struct json_object *cli_value(const struct cli *c, const struct thinbd_param *p,
			      const char *text)
{
	struct json_object *o;
	char *made = NULL;

	if ((p->kind == THINBD_KIND_SIZE || p->kind == THINBD_KIND_RATE) &&
	    !is_size(text, p->kind)) {
		cli_usage(c, "%s: no size; want bytes, or a number with K M G T P or E",
			  text);
		return NULL;
	}
	if (p->kind == THINBD_KIND_CHOICE && !is_choice(text, p->choices)) {
		cli_usage(c, "%s: want one of %s", text, p->choices);
		return NULL;
	}
	if (p->kind == THINBD_KIND_SETTING && (!strchr(text, '=') || text[0] == '=')) {
		cli_usage(c, "%s: want KEY=VALUE", text);
		return NULL;
	}
	if (p->kind == THINBD_KIND_PATH)
		made = cli_absolute(text);
	else if (p->kind == THINBD_KIND_ORIGIN)
		made = absolute_origin(text);
	else if (p->kind == THINBD_KIND_SETTING)
		made = absolute_setting(text);
	o = must_have(json_object_new_string(made ? made : text));
	free(made);
	return o;
}
