/* SPDX-License-Identifier: BSD-3-Clause */
#include "service/args.h"

#include "util/limits.h"
#include "util/size.h"

#include <errno.h>
#include <string.h>

THIN_DEFINE_CLEANUP(struct json_tokener *, json_tokener_free);

/* A request, its arguments, an array of them, and some to spare. */
#define MAX_DEPTH 8

static int parse_json(const char *text, struct json_object **ret, struct thin_error *e)
{
	_cleanup_(json_tokener_freep) struct json_tokener *tok =
		json_tokener_new_ex(MAX_DEPTH);
	size_t len = strnlen(text, THIN_MAX_MESSAGE);

	if (!tok)
		return -ENOMEM;
	if (len == THIN_MAX_MESSAGE)
		return thin_error_set(e, -EMSGSIZE, "the request is too long");
	json_tokener_set_flags(tok, JSON_TOKENER_STRICT | JSON_TOKENER_VALIDATE_UTF8);
	_cleanup_json struct json_object *doc =
		json_tokener_parse_ex(tok, text, (int)len + 1);
	if (!json_object_is_type(doc, json_type_object))
		return thin_error_set(
			e, -EINVAL, "the request is not a JSON object: %s",
			json_tokener_error_desc(json_tokener_get_error(tok)));
	*ret = thin_steal(doc);
	return 0;
}

/* --- values -------------------------------------------------------------- */

/* A string without NULs inside, which C would cut off. */
static bool is_text(struct json_object *o)
{
	return json_object_is_type(o, json_type_string) &&
	       strlen(json_object_get_string(o)) == (size_t)json_object_get_string_len(o);
}

static bool right_type(const struct thinbd_param *p, struct json_object *o)
{
	switch (p->kind) {
	case THINBD_KIND_FLAG:
		return json_object_is_type(o, json_type_boolean);
	case THINBD_KIND_SIZE:
	case THINBD_KIND_RATE:
		return is_text(o) || json_object_is_type(o, json_type_int);
	default:
		return is_text(o);
	}
}

static int check_array(const struct thinbd_param *p, struct json_object *o,
		       struct thin_error *e)
{
	if (!json_object_is_type(o, json_type_array))
		return thin_error_set(e, -EINVAL, "%s: must be an array", p->name);
	size_t nr = json_object_array_length(o);
	if ((p->flags & THINBD_REQUIRED) && !nr)
		return thin_error_set(e, -EINVAL, "%s: %s is missing", p->name, p->value);
	if (nr % p->group)
		return thin_error_set(e, -EINVAL, "%s: must come as %s", p->name,
				      p->value);
	for (size_t i = 0; i < nr; i++)
		if (!right_type(p, json_object_array_get_idx(o, i)))
			return thin_error_set(e, -EINVAL, "%s: not the right type",
					      p->name);
	return 0;
}

static bool is_choice(const struct thinbd_param *p, const char *text)
{
	size_t len = strlen(text);

	for (const char *c = p->choices; c;
	     c = strchr(c, '|') ? strchr(c, '|') + 1 : NULL)
		if (!strncmp(c, text, len) && (c[len] == '|' || !c[len]))
			return len > 0;
	return false;
}

static int check_value(const struct thinbd_param *p, struct json_object *o,
		       struct thin_error *e)
{
	if (p->group)
		return check_array(p, o, e);
	if (!right_type(p, o))
		return thin_error_set(e, -EINVAL, "%s: not the right type", p->name);
	if (p->kind == THINBD_KIND_CHOICE && !is_choice(p, json_object_get_string(o)))
		return thin_error_set(e, -EINVAL, "%s: must be one of %s", p->name,
				      p->choices);
	return 0;
}

/* --- keys ---------------------------------------------------------------- */

static const struct thinbd_param *find_param(const struct thinbd_verb *v,
					     const char *name)
{
	for (size_t i = 0; i < v->nr_params; i++)
		if (!strcmp(v->params[i].name, name) &&
		    !(v->params[i].flags & THINBD_FRONT_ONLY))
			return &v->params[i];
	return NULL;
}

static int check_known(const struct thin_args *a, struct thin_error *e)
{
	struct json_object_iterator it = json_object_iter_begin(a->args);
	struct json_object_iterator end = json_object_iter_end(a->args);

	for (; !json_object_iter_equal(&it, &end); json_object_iter_next(&it)) {
		const char *name = json_object_iter_peek_name(&it);
		const struct thinbd_param *p = find_param(a->verb, name);
		if (!p)
			return thin_error_set(e, -EINVAL, "%s: takes no argument '%.64s'",
					      a->verb->name, name);
		int r = check_value(p, json_object_iter_peek_value(&it), e);
		if (r)
			return r;
	}
	return 0;
}

static int check_required(const struct thin_args *a, struct thin_error *e)
{
	for (size_t i = 0; i < a->verb->nr_params; i++) {
		const struct thinbd_param *p = &a->verb->params[i];
		if ((p->flags & THINBD_REQUIRED) &&
		    !json_object_object_get_ex(a->args, p->name, NULL))
			return thin_error_set(e, -EINVAL, "%s: %s is missing",
					      a->verb->name, p->value);
	}
	return 0;
}

/* Arguments that are repeated now, and were not always: those who ask go on. */
static const struct {
	const char *verb, *was, *is;
} renamed[] = {{"create", "name", "names"}};

static int take_old_names(struct thin_args *a)
{
	for (size_t i = 0; i < sizeof(renamed) / sizeof(renamed[0]); i++) {
		struct json_object *value, *array;

		if (strcmp(a->verb->name, renamed[i].verb) != 0 ||
		    !json_object_object_get_ex(a->args, renamed[i].was, &value) ||
		    json_object_object_get_ex(a->args, renamed[i].is, NULL))
			continue;
		array = json_object_new_array();
		if (!array || json_object_array_add(array, json_object_get(value)) ||
		    json_object_object_add(a->args, renamed[i].is, array))
			return -ENOMEM;
		json_object_object_del(a->args, renamed[i].was);
	}
	return 0;
}

/* {"verb": text, "args": object}; the latter may be left out. */
static int check_envelope(struct thin_args *a, struct thin_error *e)
{
	struct json_object *verb;
	bool has_args = json_object_object_get_ex(a->doc, "args", &a->args);

	if (!json_object_object_get_ex(a->doc, "verb", &verb) || !is_text(verb))
		return thin_error_set(e, -EINVAL, "the request has no verb");
	if (json_object_object_length(a->doc) != (has_args ? 2 : 1))
		return thin_error_set(e, -EINVAL,
				      "the request has more than a verb and arguments");
	if (has_args && !json_object_is_type(a->args, json_type_object))
		return thin_error_set(e, -EINVAL, "the arguments are not an object");
	a->verb = thinbd_find_verb(json_object_get_string(verb));
	if (!a->verb || (a->verb->flags & THINBD_VERB_FRONT))
		return thin_error_set(e, -EINVAL, "'%.64s' is not a request",
				      json_object_get_string(verb));
	return 0;
}

int thin_args_parse(const char *request, struct thin_args *ret, struct thin_error *e)
{
	struct thin_args a = {0};
	int r = parse_json(request, &a.doc, e);

	if (!r)
		r = check_envelope(&a, e);
	if (!r && a.args)
		r = take_old_names(&a);
	if (!r && a.args)
		r = check_known(&a, e);
	if (!r)
		r = check_required(&a, e);
	if (r) {
		thin_args_fini(&a);
		return r;
	}
	*ret = a;
	return 0;
}

void thin_args_fini(struct thin_args *a)
{
	json_object_put(a->doc);
	*a = (struct thin_args){0};
}

/* --- reading ------------------------------------------------------------- */

static struct json_object *get(const struct thin_args *a, const char *name)
{
	struct json_object *o = NULL;

	(void)json_object_object_get_ex(a->args, name, &o);
	return o;
}

const char *thin_arg_text(const struct thin_args *a, const char *name)
{
	struct json_object *o = get(a, name);

	return o ? json_object_get_string(o) : NULL;
}

bool thin_arg_flag(const struct thin_args *a, const char *name)
{
	return json_object_get_boolean(get(a, name));
}

size_t thin_arg_count(const struct thin_args *a, const char *name)
{
	struct json_object *o = get(a, name);

	return o ? json_object_array_length(o) : 0;
}

const char *thin_arg_nth(const struct thin_args *a, const char *name, size_t i)
{
	return json_object_get_string(json_object_array_get_idx(get(a, name), i));
}

/* A rate may say that it is one. */
static int parse(const char *text, bool rate, uint64_t *ret, struct thin_error *e)
{
	_cleanup_free char *size = strdup(text);
	size_t len = strlen(text);

	if (!size)
		return -ENOMEM;
	if (rate && len > 2 && !strcmp(text + len - 2, "/s"))
		size[len - 2] = '\0';
	return thin_size_parse(size, ret, e);
}

int thin_arg_size(const struct thin_args *a, const char *name, uint64_t *ret,
		  struct thin_error *e)
{
	struct json_object *o = get(a, name);
	struct thin_error why = {0};
	uint64_t bytes = 0;

	if (!o) {
		*ret = 0;
		return 0;
	}
	/* A number's text is one of the forms that people write. */
	int r = parse(json_object_get_string(o),
		      find_param(a->verb, name)->kind == THINBD_KIND_RATE, &bytes, &why);
	if (!r && !bytes)
		r = thin_error_set(&why, -EINVAL, "must not be 0");
	if (r)
		return thin_error_set(e, r, "%s: %s", name, why.text);
	*ret = bytes;
	return 0;
}
