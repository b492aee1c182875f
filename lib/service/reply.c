/* SPDX-License-Identifier: BSD-3-Clause */
#include "service/reply.h"

#include <errno.h>
#include <limits.h>
#include <string.h>

#define TEXT_FLAGS (JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE)

const char *thin_json_text(struct json_object *o)
{
	return json_object_to_json_string_ext(o, TEXT_FLAGS);
}

int thin_json_parse(struct json_tokener *tok, const char *text, size_t len,
		    struct json_object **ret)
{
	struct json_object *o;

	if (len >= INT_MAX)
		return -EPROTO;
	json_tokener_reset(tok);
	o = json_tokener_parse_ex(tok, text, (int)len + 1);
	if (!o || json_tokener_get_parse_end(tok) != len) {
		json_object_put(o);
		return -EPROTO;
	}
	*ret = o;
	return 0;
}

static char *wrap(const char *key, struct json_object *value)
{
	_cleanup_json struct json_object *doc = json_object_new_object();

	if (!doc || json_object_object_add(doc, key, value) < 0) {
		json_object_put(value);
		return NULL;
	}
	const char *text = thin_json_text(doc);
	return text ? strdup(text) : NULL;
}

char *thin_reply_error(int err, const struct thin_error *e)
{
	const char *message = e && e->text[0] ? e->text : thin_strerror(err);
	struct json_object *o = json_object_new_object();

	if (!o)
		return NULL;
	(void)json_object_object_add(o, "code",
				     json_object_new_string(thin_errname(err)));
	(void)json_object_object_add(o, "message", json_object_new_string(message));
	return wrap("error", o);
}

char *thin_reply_result(struct json_object *result)
{
	return wrap("result", result);
}

/* --- items --------------------------------------------------------------- */

static bool wants_items(const struct thinbd_observer *observer)
{
	return observer && observer->item;
}

int thin_items_init(struct thin_items *items, bool is_text,
		    const struct thinbd_observer *observer)
{
	*items = (struct thin_items){.observer = observer, .is_text = is_text};
	if (wants_items(observer))
		return 0;
	if (is_text)
		items->text = calloc(1, items->size = 1);
	else
		items->array = json_object_new_array();
	return items->text || items->array ? 0 : -ENOMEM;
}

void thin_items_fini(struct thin_items *items)
{
	if (items->tok)
		json_tokener_free(items->tok);
	json_object_put(items->array);
	free(items->text);
	*items = (struct thin_items){0};
}

static int append_text(struct thin_items *items, const char *text, size_t len)
{
	if (items->len + len >= items->size) {
		size_t size = 2 * (items->len + len) + 1;
		char *grown = realloc(items->text, size);
		if (!grown)
			return -ENOMEM;
		items->text = grown;
		items->size = size;
	}
	memcpy(items->text + items->len, text, len);
	items->len += len;
	return 0;
}

/* Takes @o. */
static int collect(struct thin_items *items, struct json_object *o)
{
	if (!items->is_text)
		return json_object_array_add(items->array, o) < 0 ? -ENOMEM : 0;
	int r = json_object_is_type(o, json_type_string)
			? append_text(items, json_object_get_string(o),
				      (size_t)json_object_get_string_len(o))
			: -EPROTO;
	json_object_put(o);
	return r;
}

int thin_items_add(struct thin_items *items, const char *json, size_t len)
{
	struct json_object *o;
	int r;

	if (wants_items(items->observer))
		return items->observer->item(items->observer->ctx, json, len) ? -ECANCELED
									      : 0;
	if (!items->tok)
		items->tok = json_tokener_new();
	if (!items->tok)
		return -ENOMEM;
	r = thin_json_parse(items->tok, json, len, &o);
	return r ? r : collect(items, o);
}

int thin_items_add_object(struct thin_items *items, struct json_object *o)
{
	if (!o)
		return -ENOMEM;
	if (!wants_items(items->observer))
		return collect(items, o);
	_cleanup_json struct json_object *owned = o;
	const char *text = thin_json_text(owned);
	return text ? thin_items_add(items, text, strlen(text)) : -ENOMEM;
}

struct json_object *thin_items_result(struct thin_items *items)
{
	if (items->text)
		return json_object_new_string_len(items->text, (int)items->len);
	return thin_steal(items->array);
}
