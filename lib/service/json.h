/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_SERVICE_JSON_H
#define THINBD_SERVICE_JSON_H

/*
 * Making JSON objects.  A NULL where an object is expected is a null, which
 * is also what a lack of memory comes to.
 */

#include <json-c/json.h>
#include <stdint.h>

/* @key: stays as long as @o does, and @o does not have it yet. */
static inline void thin_json_add(struct json_object *o, const char *key,
				 struct json_object *value)
{
	const unsigned how =
		JSON_C_OBJECT_ADD_KEY_IS_NEW | JSON_C_OBJECT_ADD_CONSTANT_KEY;

	if (!o || json_object_object_add_ex(o, key, value, how) < 0)
		json_object_put(value);
}

static inline struct json_object *thin_json_number(uint64_t n)
{
	return json_object_new_uint64(n);
}

/* NULL gives null. */
static inline struct json_object *thin_json_string(const char *text)
{
	return text ? json_object_new_string(text) : NULL;
}

#endif
