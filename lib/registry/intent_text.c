/* SPDX-License-Identifier: BSD-3-Clause */
/* An intent as a text of libconfig, which has all that is to be done. */
#include "registry/intent.h"

#include "registry/text.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void print_ids(FILE *out, const char *key, const struct thin_ids *ids)
{
	fprintf(out, "%s = [ ", key);
	for (size_t i = 0; i < ids->nr; i++)
		fprintf(out, "%s%" PRIu32, i ? ", " : "", ids->at[i]);
	fputs(" ];\n", out);
}

int thin_intent_print(const struct thin_intent *in, char **ret_text, size_t *ret_len)
{
	struct thin_text t;
	int r;

	r = thin_text_open(&t);
	if (r)
		return r;
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

int thin_intent_parse(const char *where, const char *text, size_t len,
		      struct thin_intent *ret, struct thin_error *e)
{
	struct thin_intent in = {0};
	struct thin_conf c;
	int r;

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
