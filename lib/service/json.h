/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_SERVICE_JSON_H
#define THINBD_SERVICE_JSON_H

/*
 * Making JSON objects.  A NULL where an object is expected is a null, which
 * is also what a lack of memory comes to.
 */

#include <json-c/json.h>
#include <stdint.h>

static inline void thin_json_add(struct json_object *o, const char *key,
				 struct json_object *value)
{
	if (!o || json_object_object_add(o, key, value) < 0)
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
