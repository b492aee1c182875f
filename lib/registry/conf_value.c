/* SPDX-License-Identifier: BSD-3-Clause */
/*
 * Values: from text to a member of a struct, and back.  Files and command
 * lines meet here, so that both get the same checks and the same words.
 */
#include "registry/conf.h"

#include "registry/text.h"
#include "util/size.h"

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

static void *member(const struct thin_conf_key *key, void *object)
{
	return (char *)object + key->offset;
}

static const void *const_member(const struct thin_conf_key *key, const void *object)
{
	return (const char *)object + key->offset;
}

static int set_string(const struct thin_conf_key *key, const char *text, char **ret,
		      struct thin_error *e)
{
	bool empty_ok = key->fallback && !*key->fallback;
	char *copy = NULL;
	int r;

	if (!*text && !empty_ok)
		return thin_error_set(e, -EINVAL, "must not be empty");
	if (*text && key->check) {
		r = key->check(text, e);
		if (r)
			return r;
	}
	if (*text && !(copy = strdup(text)))
		return thin_error_set(e, -ENOMEM, "out of memory");
	free(*ret);
	*ret = copy;
	return 0;
}

static int check_size(const struct thin_conf_key *key, uint64_t bytes,
		      struct thin_error *e)
{
	char min[THIN_SIZE_TEXT], max[THIN_SIZE_TEXT];

	if (bytes >= key->min && bytes <= key->max)
		return 0;
	return thin_error_set(e, -ERANGE, "must be from %s to %s",
			      thin_size_exact(key->min, min),
			      thin_size_exact(key->max, max));
}

static int set_size(const struct thin_conf_key *key, const char *text, uint64_t *ret,
		    struct thin_error *e)
{
	uint64_t bytes;
	int r;

	if (key->kind == THIN_CONF_LIMIT && !strcmp(text, "none")) {
		*ret = UINT64_MAX;
		return 0;
	}
	r = thin_size_parse(text, &bytes, e);
	if (!r)
		r = check_size(key, bytes, e);
	if (!r)
		*ret = bytes;
	return r;
}

static int set_choice(const struct thin_conf_key *key, const char *text, int *ret,
		      struct thin_error *e)
{
	struct thin_text words;
	_cleanup_free char *list = NULL;
	int r;

	for (int i = 0; key->choices[i]; i++)
		if (!strcmp(key->choices[i], text)) {
			*ret = i;
			return 0;
		}

	r = thin_text_open(&words);
	if (r)
		return r;
	for (int i = 0; key->choices[i]; i++)
		fprintf(words.out, "%s\"%s\"", i ? ", " : "", key->choices[i]);
	r = thin_text_close(&words, &list, NULL);
	if (r)
		return r;
	return thin_error_set(e, -EINVAL, "\"%.64s\" is not one of %s", text, list);
}

static int not_a_number(const char *text, struct thin_error *e)
{
	return thin_error_set(e, -EINVAL, "\"%.64s\" is not a whole number", text);
}

static int set_number(const struct thin_conf_key *key, const char *text, uint32_t *ret,
		      struct thin_error *e)
{
	long long n;
	char *end;

	errno = 0;
	n = strtoll(text, &end, 10);
	if (end == text || *end)
		return not_a_number(text, e);
	if (errno || n < (long long)key->min || n > (long long)key->max)
		return thin_error_set(e, -ERANGE, "must be from %" PRIu64 " to %" PRIu64,
				      key->min, key->max);
	*ret = (uint32_t)n;
	return 0;
}

static int set_s64(const char *text, int64_t *ret, struct thin_error *e)
{
	long long n;
	char *end;

	errno = 0;
	n = strtoll(text, &end, 10);
	if (end == text || *end || errno)
		return not_a_number(text, e);
	*ret = n;
	return 0;
}

static int set_u64(const char *text, uint64_t *ret, struct thin_error *e)
{
	unsigned long long n;
	char *end;

	errno = 0;
	n = strtoull(text, &end, 10);
	/* strtoull() takes a sign, and negates. */
	if (end == text || *end || errno || strchr(text, '-'))
		return not_a_number(text, e);
	*ret = n;
	return 0;
}

static int set_bool(const char *text, bool *ret, struct thin_error *e)
{
	if (strcmp(text, "true") && strcmp(text, "false"))
		return thin_error_set(e, -EINVAL, "\"%.64s\" is not true or false", text);
	*ret = !strcmp(text, "true");
	return 0;
}

#define TIME_FORMAT "%Y-%m-%dT%H:%M:%SZ"

static const char *time_text(int64_t seconds, char buf[static THIN_CONF_TEXT])
{
	time_t t = seconds;
	struct tm tm;

	/* Only what set_time() took gets here, and that fits. */
	if (!gmtime_r(&t, &tm) || !strftime(buf, THIN_CONF_TEXT, TIME_FORMAT, &tm))
		buf[0] = '\0';
	return buf;
}

static int set_time(const char *text, int64_t *ret, struct thin_error *e)
{
	char again[THIN_CONF_TEXT];
	struct tm tm = {0};
	const char *end = strptime(text, TIME_FORMAT, &tm);
	int64_t seconds = end ? timegm(&tm) : 0;

	/* strptime() is lax about digits and days: compare. */
	if (!end || *end || strcmp(time_text(seconds, again), text))
		return thin_error_set(e, -EINVAL,
				      "\"%.64s\" is not a time such as "
				      "\"2026-01-01T00:00:00Z\"",
				      text);
	*ret = seconds;
	return 0;
}

int thin_conf_set(const struct thin_conf_key *key, const char *text, void *object,
		  struct thin_error *e)
{
	void *m = member(key, object);

	switch (key->kind) {
	case THIN_CONF_STRING:
		return set_string(key, text, m, e);
	case THIN_CONF_SIZE:
	case THIN_CONF_LIMIT:
		return set_size(key, text, m, e);
	case THIN_CONF_AMOUNT:
		return thin_amount_parse(text, m, e);
	case THIN_CONF_CHOICE:
		return set_choice(key, text, m, e);
	case THIN_CONF_NUMBER:
		return set_number(key, text, m, e);
	case THIN_CONF_U64:
		return set_u64(text, m, e);
	case THIN_CONF_S64:
		return set_s64(text, m, e);
	case THIN_CONF_BOOL:
		return set_bool(text, m, e);
	case THIN_CONF_TIME:
		return set_time(text, m, e);
	}
	return -EINVAL;
}

static const char *number_text(const struct thin_conf_key *key, const void *m,
			       char buf[static THIN_CONF_TEXT])
{
	if (key->kind == THIN_CONF_NUMBER)
		snprintf(buf, THIN_CONF_TEXT, "%" PRIu32, *(const uint32_t *)m);
	else if (key->kind == THIN_CONF_U64)
		snprintf(buf, THIN_CONF_TEXT, "%" PRIu64, *(const uint64_t *)m);
	else
		snprintf(buf, THIN_CONF_TEXT, "%" PRId64, *(const int64_t *)m);
	return buf;
}

const char *thin_conf_text(const struct thin_conf_key *key, const void *object,
			   char buf[static THIN_CONF_TEXT])
{
	const void *m = const_member(key, object);
	const char *string;

	switch (key->kind) {
	case THIN_CONF_STRING:
		string = *(char *const *)m;
		return string ? string : "";
	case THIN_CONF_LIMIT:
		if (*(const uint64_t *)m == UINT64_MAX)
			return "none";
		return thin_size_exact(*(const uint64_t *)m, buf);
	case THIN_CONF_SIZE:
		return thin_size_exact(*(const uint64_t *)m, buf);
	case THIN_CONF_AMOUNT:
		return thin_amount_text(m, buf);
	case THIN_CONF_CHOICE:
		return key->choices[*(const int *)m];
	case THIN_CONF_BOOL:
		return *(const bool *)m ? "true" : "false";
	case THIN_CONF_TIME:
		return time_text(*(const int64_t *)m, buf);
	default:
		return number_text(key, m, buf);
	}
}

const struct thin_conf_key *thin_conf_find(const struct thin_conf_key *keys,
					   const char *name)
{
	for (; keys->name; keys++)
		if (!strcmp(keys->name, name))
			return keys;
	return NULL;
}

int thin_conf_defaults(const struct thin_conf_key *keys, void *object)
{
	for (; keys->name; keys++) {
		int r = keys->fallback ? thin_conf_set(keys, keys->fallback, object, NULL)
				       : 0;

		if (r)
			return r;
	}
	return 0;
}

int thin_conf_own_strings(const struct thin_conf_key *keys, void *object)
{
	int r = 0;

	for (; keys->name; keys++)
		if (keys->kind == THIN_CONF_STRING) {
			char **string = member(keys, object);

			if (*string && !(*string = strdup(*string)))
				r = -ENOMEM;
		}
	return r;
}

void thin_conf_free(const struct thin_conf_key *keys, void *object)
{
	for (; keys->name; keys++)
		if (keys->kind == THIN_CONF_STRING) {
			char **string = member(keys, object);

			free(*string);
			*string = NULL;
		}
}
