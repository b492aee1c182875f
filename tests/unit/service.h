/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_SERVICE_H
#define THINBD_TESTS_SERVICE_H

/* Requests to a pool in a folder of the test's own, as a front end makes them. */

#include "scratch.h"

#include "thinbd.h"

#include <errno.h>
#include <json-c/json.h>
#include <stdarg.h>

#define POOL scratch("pool")

/* A request in which ' stands for ". */
__attribute__((format(printf, 1, 0))) static char *request_text(const char *fmt,
								va_list ap)
{
	char *text;

	assert_true(vasprintf(&text, fmt, ap) >= 0);
	for (char *c = text; *c; c++)
		if (*c == '\'')
			*c = '"';
	return text;
}

static inline struct json_object *reply_to(struct thinbd *t, const char *text)
{
	char *reply;

	if (t)
		assert_int_equal(thinbd_request(t, text, NULL, &reply), 0);
	else
		assert_int_equal(thinbd_call(POOL, text, NULL, &reply), 0);
	struct json_object *o = json_tokener_parse(reply);
	if (!o)
		fail_msg("not JSON: %s", reply);
	free(reply);
	return o;
}

/* The server that is asked; NULL: whoever has the pool. */
static struct thinbd *asked;

/* The result; put it. */
__attribute__((format(printf, 1, 2))) static inline struct json_object *
ok(const char *fmt, ...)
{
	struct json_object *o, *result;
	va_list ap;

	va_start(ap, fmt);
	char *text = request_text(fmt, ap);
	va_end(ap);
	o = reply_to(asked, text);
	if (!json_object_object_get_ex(o, "result", &result))
		fail_msg("%s: %s", text, json_object_to_json_string(o));
	free(text);
	json_object_get(result);
	json_object_put(o);
	return result;
}

static inline void done(struct json_object *o)
{
	json_object_put(o);
}

/* Refused with @code, and @part in the message, which is one line. */
__attribute__((format(printf, 3, 4))) static inline void refused(const char *code,
								 const char *part,
								 const char *fmt, ...)
{
	struct json_object *o, *error, *value;
	va_list ap;

	va_start(ap, fmt);
	char *text = request_text(fmt, ap);
	va_end(ap);
	o = reply_to(asked, text);
	if (!json_object_object_get_ex(o, "error", &error))
		fail_msg("%s: should have been refused: %s", text,
			 json_object_to_json_string(o));
	free(text);
	assert_true(json_object_object_get_ex(error, "message", &value));
	assert_has(json_object_get_string(value), part);
	assert_null(strchr(json_object_get_string(value), '\n'));
	assert_true(json_object_object_get_ex(error, "code", &value));
	assert_string_equal(json_object_get_string(value), code);
	json_object_put(o);
}

/* A member, by a path such as "data.used_bytes" or "[0].name". */
static inline struct json_object *at(struct json_object *o, const char *path)
{
	while (*path) {
		if (*path == '[') {
			o = json_object_array_get_idx(
				o, strtoul(path + 1, (char **)&path, 10));
			path++;
		} else {
			char name[64];
			size_t len = strcspn(path, ".[");
			snprintf(name, sizeof(name), "%.*s", (int)len, path);
			if (!json_object_object_get_ex(o, name, &o))
				fail_msg("no %s", name);
			path += len;
		}
		path += *path == '.';
	}
	return o;
}

static inline uint64_t number(struct json_object *o, const char *path)
{
	return json_object_get_uint64(at(o, path));
}

static inline const char *string(struct json_object *o, const char *path)
{
	return json_object_get_string(at(o, path));
}

/* One number or string of an answer. */
#define assert_number(o, path, n) assert_int_equal(number(o, path), n)
#define assert_text(o, path, s)	  assert_string_equal(string(o, path), s)

static inline uint64_t used_bytes(void)
{
	struct json_object *o = ok("{'verb':'status'}");
	uint64_t used = number(o, "data.used_bytes");

	json_object_put(o);
	return used;
}

static inline size_t nr_volumes(void)
{
	struct json_object *o = ok("{'verb':'list'}");
	size_t nr = json_object_array_length(o);

	json_object_put(o);
	return nr;
}

/* A small pool of 64 MiB. */
static inline int make_pool(void **state)
{
	if (scratch_make(state))
		return -1;
	asked = NULL;
	done(ok("{'verb':'init','args':{'data_size':'64M','set':['when_full=error']}}"));
	return 0;
}

/* Write @len bytes of @byte to a volume, and flush. */
static inline void put_bytes(struct thinbd *t, const char *name, uint64_t offset,
			     size_t len, int byte)
{
	struct thinbd_volume *v;
	char *buf = malloc(len);

	memset(buf, byte, len);
	assert_int_equal(thinbd_volume_open(t, name, false, &v, NULL), 0);
	assert_int_equal(thinbd_write(v, buf, offset, len, THINBD_FUA), 0);
	thinbd_volume_close(v);
	free(buf);
}

/* Is all of [@offset, @offset + @len) @byte? */
static inline bool has_bytes(struct thinbd *t, const char *name, uint64_t offset,
			     size_t len, int byte)
{
	struct thinbd_volume *v;
	char *buf = malloc(len);
	bool all = true;

	assert_int_equal(thinbd_volume_open(t, name, true, &v, NULL), 0);
	assert_int_equal(thinbd_read(v, buf, offset, len), 0);
	thinbd_volume_close(v);
	for (size_t i = 0; i < len; i++)
		all &= (unsigned char)buf[i] == (unsigned char)byte;
	free(buf);
	return all;
}

/* Open as a server does, without a socket; requests go to it. */
static inline struct thinbd *serve(void)
{
	struct thinbd_params p = {.dir = POOL, .command = "test"};
	struct thinbd_error e;
	struct thinbd *t;

	if (thinbd_open(&p, &t, &e))
		fail_msg("%s", e.text);
	assert_int_equal(thinbd_start(t, NULL), 0);
	asked = t;
	return t;
}

/* The same, with a socket. */
static inline struct thinbd *listen_too(void)
{
	struct thinbd_params p = {.dir = POOL, .command = "test"};
	struct thinbd *t;

	assert_int_equal(thinbd_open(&p, &t, NULL), 0);
	assert_int_equal(thinbd_listen(t, NULL), 0);
	assert_int_equal(thinbd_start(t, NULL), 0);
	return asked = t;
}

static inline void end_serving(struct thinbd *t)
{
	asked = NULL;
	assert_int_equal(thinbd_close(t), 0);
}

static inline void assert_clean(void)
{
	struct json_object *o = ok("{'verb':'check'}");

	if (!json_object_get_boolean(at(o, "clean")))
		fail_msg("%s", json_object_to_json_string(o));
	json_object_put(o);
}

#endif
