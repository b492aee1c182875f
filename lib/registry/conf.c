/* SPDX-License-Identifier: BSD-3-Clause */
#include "registry/conf.h"

#include "registry/conf_scan.h"

#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <string.h>

int thin_conf_error(const struct thin_conf *c, const config_setting_t *setting,
		    struct thin_error *e, int err, const char *fmt, ...)
{
	struct thin_error detail;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(detail.text, sizeof(detail.text), fmt, ap);
	va_end(ap);
	return thin_error_set(e, err, "%s:%u: %s", c->where,
			      (unsigned)config_setting_source_line(setting), detail.text);
}

static int syntax_error(const struct thin_conf *c, struct thin_error *e)
{
	const char *hint = "";

	if (!strcmp(config_error_text(&c->config), "syntax error"))
		hint = " (here or just before; names and sizes such as \"64K\" need "
		       "quotes)";
	return thin_error_set(e, -EINVAL, "%s:%d: %s%s", c->where,
			      config_error_line(&c->config),
			      config_error_text(&c->config), hint);
}

int thin_conf_parse(struct thin_conf *c, const char *where, const char *text, size_t len,
		    struct thin_error *e)
{
	_cleanup_free char *wide = NULL;
	int r;

	if (strlen(text) != len)
		return thin_error_set(e, -EINVAL, "%s: holds a NUL byte", where);
	r = thin_conf_widen(where, text, &wide, e);
	if (r)
		return r;

	c->where = where;
	config_init(&c->config);
	/* No file can be included from a folder that is none. */
	config_set_include_dir(&c->config, "/dev/null");
	if (config_read_string(&c->config, wide))
		return 0;
	r = syntax_error(c, e);
	thin_conf_fini(c);
	return r;
}

void thin_conf_fini(struct thin_conf *c)
{
	config_destroy(&c->config);
}

/* What a file must have for each kind. */
static const char *expected(const struct thin_conf_key *key)
{
	switch (key->kind) {
	case THIN_CONF_SIZE:
	case THIN_CONF_LIMIT:
		return "a size: a number, or a string such as \"64K\"";
	case THIN_CONF_AMOUNT:
		return "a percentage or a size, in quotes";
	case THIN_CONF_NUMBER:
	case THIN_CONF_U64:
	case THIN_CONF_S64:
		return "a whole number";
	case THIN_CONF_BOOL:
		return "true or false";
	default:
		return "a string, in quotes";
	}
}

static bool type_ok(enum thin_conf_kind kind, int type)
{
	bool string = type == CONFIG_TYPE_STRING;
	bool number = type == CONFIG_TYPE_INT || type == CONFIG_TYPE_INT64;

	switch (kind) {
	case THIN_CONF_SIZE:
	case THIN_CONF_LIMIT:
	case THIN_CONF_AMOUNT:
	case THIN_CONF_U64: /* what int64_t can not hold is in quotes */
		return string || number;
	case THIN_CONF_NUMBER:
	case THIN_CONF_S64:
		return number;
	case THIN_CONF_BOOL:
		return type == CONFIG_TYPE_BOOL;
	default:
		return string;
	}
}

/* A scalar setting as text; @buf or the string itself. */
static const char *setting_text(const config_setting_t *s,
				char buf[static THIN_CONF_TEXT])
{
	switch (config_setting_type(s)) {
	case CONFIG_TYPE_STRING:
		return config_setting_get_string(s);
	case CONFIG_TYPE_BOOL:
		return config_setting_get_bool(s) ? "true" : "false";
	default:
		snprintf(buf, THIN_CONF_TEXT, "%lld", config_setting_get_int64(s));
		return buf;
	}
}

static int read_setting(const struct thin_conf *c, const config_setting_t *setting,
			const struct thin_conf_key *key, void *object,
			struct thin_error *e)
{
	struct thin_error detail = {""};
	char buf[THIN_CONF_TEXT];
	int r;

	if (!type_ok(key->kind, config_setting_type(setting)))
		return thin_conf_error(c, setting, e, -EINVAL, "%s: must be %s",
				       key->name, expected(key));
	r = thin_conf_set(key, setting_text(setting, buf), object, &detail);
	if (r)
		return thin_conf_error(c, setting, e, r, "%s: %s", key->name,
				       detail.text);
	return 0;
}

int thin_conf_read(const struct thin_conf *c, const config_setting_t *group,
		   const struct thin_conf_key *keys, void *object, struct thin_error *e)
{
	int nr = config_setting_length(group);
	int r;

	r = thin_conf_defaults(keys, object);
	for (int i = 0; !r && i < nr; i++) {
		config_setting_t *s = config_setting_get_elem(group, (unsigned)i);
		const struct thin_conf_key *key =
			thin_conf_find(keys, config_setting_name(s));

		if (!key)
			return thin_conf_error(c, s, e, -EINVAL, "unknown key \"%s\"",
					       config_setting_name(s));
		r = read_setting(c, s, key, object, e);
	}
	if (r)
		return r;
	for (; keys->name; keys++)
		if (!keys->fallback && !config_setting_get_member(group, keys->name))
			return thin_error_set(e, -EINVAL, "%s: \"%s\" is missing",
					      c->where, keys->name);
	return 0;
}

/* --- texts as we write them ------------------------------------------------- */

/*
 * "key = value;" again and again, each value one that means the same to anybody:
 * plain strings, decimal numbers, true and false.  Whatever else there is, errors
 * above all, is libconfig's to judge.
 */
struct flat {
	struct thin_scanner scanner;
	const struct thin_conf_key *keys;
	void *object;
	uint64_t seen; /* a bit for each of the keys */
};

static bool next_is(struct thin_scanner *s, char sign)
{
	struct thin_token t;

	return !thin_scan(s, &t, NULL) && t.kind == THIN_TOKEN_SIGN && *t.text == sign;
}

/* One that was not there before, or NULL. */
static const struct thin_conf_key *flat_key(struct flat *f, const struct thin_token *t)
{
	for (size_t i = 0; f->keys[i].name && i < 64; i++) {
		const struct thin_conf_key *key = &f->keys[i];

		if (strncmp(key->name, t->text, t->len) || key->name[t->len])
			continue;
		if (f->seen & UINT64_C(1) << i)
			return NULL;
		f->seen |= UINT64_C(1) << i;
		return key;
	}
	return NULL;
}

/* Of 64 bits, without zeros before it; an L is dropped. */
static bool plain_number(char *text)
{
	const char *digits = text + (*text == '-');
	char *end;

	errno = 0;
	(void)strtoll(text, &end, 10);
	if (errno || !isdigit((unsigned char)*digits) ||
	    (*digits == '0' && end > digits + 1))
		return false;
	if (*end == 'L' && !end[1])
		*end = '\0';
	return !*end;
}

static bool plain_string(const char *text)
{
	for (; *text; text++)
		if ((unsigned char)*text < 0x20 || *text == '\\')
			return false;
	return true;
}

/* The value @t, as thin_conf_set() wants it, and its type; false: not plain. */
static bool flat_value(const struct thin_token *t, char *buf, size_t size, int *ret_type)
{
	bool string = t->kind == THIN_TOKEN_STRING;
	size_t len = string ? t->len - 2 : t->len;

	if (len >= size)
		return false;
	memcpy(buf, string ? t->text + 1 : t->text, len);
	buf[len] = '\0';
	if (string) {
		*ret_type = CONFIG_TYPE_STRING;
		return plain_string(buf);
	}
	if (t->kind != THIN_TOKEN_WORD)
		return false;
	*ret_type = CONFIG_TYPE_BOOL;
	if (!strcmp(buf, "true") || !strcmp(buf, "false"))
		return true;
	*ret_type = CONFIG_TYPE_INT64;
	return plain_number(buf);
}

/* What begins with the word @name. */
static bool flat_setting(struct flat *f, const struct thin_token *name)
{
	const struct thin_conf_key *key = flat_key(f, name);
	struct thin_token value;
	char buf[512];
	int type;

	if (!key || !next_is(&f->scanner, '=') || thin_scan(&f->scanner, &value, NULL) ||
	    !flat_value(&value, buf, sizeof(buf), &type) || !next_is(&f->scanner, ';'))
		return false;
	return type_ok(key->kind, type) && !thin_conf_set(key, buf, f->object, NULL);
}

/* False: it is not flat, or not right; then @object's strings are its own still. */
static bool read_flat(const char *text, const struct thin_conf_key *keys, void *object)
{
	struct flat f = {
		.scanner = {.at = text, .line = 1},
		.keys = keys,
		.object = object,
	};
	struct thin_token t;

	if (thin_conf_defaults(keys, object))
		return false;
	for (;;) {
		if (thin_scan(&f.scanner, &t, NULL))
			return false;
		if (t.kind == THIN_TOKEN_END)
			break;
		if (t.kind != THIN_TOKEN_WORD || !flat_setting(&f, &t))
			return false;
	}
	for (size_t i = 0; keys[i].name; i++)
		if (!keys[i].fallback && !(f.seen & UINT64_C(1) << i))
			return false;
	return true;
}

int thin_conf_read_text(const char *where, const char *text, size_t len,
			const struct thin_conf_key *keys, void *object,
			struct thin_error *e)
{
	struct thin_conf c;
	int r;

	if (strlen(text) == len && read_flat(text, keys, object))
		return 0;
	r = thin_conf_parse(&c, where, text, len, e);
	if (r)
		return r;
	r = thin_conf_read(&c, config_root_setting(&c.config), keys, object, e);
	thin_conf_fini(&c);
	return r;
}

/* --- writing ---------------------------------------------------------------- */

void thin_conf_quote(FILE *out, const char *text)
{
	fputc('"', out);
	for (; *text; text++) {
		unsigned char c = (unsigned char)*text;

		if (c < 0x20)
			fprintf(out, "\\x%02x", c);
		else if (c == '"' || c == '\\')
			fprintf(out, "\\%c", c);
		else
			fputc(c, out);
	}
	fputc('"', out);
}

static bool wants_quotes(const struct thin_conf_key *key, const void *object)
{
	switch (key->kind) {
	case THIN_CONF_NUMBER:
	case THIN_CONF_S64:
	case THIN_CONF_BOOL:
		return false;
	case THIN_CONF_U64:
		return *(const uint64_t *)((const char *)object + key->offset) >
		       INT64_MAX;
	default:
		return true;
	}
}

void thin_conf_write_value(FILE *out, const struct thin_conf_key *key, const void *object)
{
	char buf[THIN_CONF_TEXT];
	const char *text = thin_conf_text(key, object, buf);
	bool wide = key->kind == THIN_CONF_U64 || key->kind == THIN_CONF_S64;

	if (wants_quotes(key, object))
		thin_conf_quote(out, text);
	else
		fprintf(out, "%s%s", text, wide ? "L" : "");
}

void thin_conf_write(FILE *out, const struct thin_conf_key *key, const void *object,
		     const char *end)
{
	fprintf(out, "%s = ", key->name);
	thin_conf_write_value(out, key, object);
	fprintf(out, ";%s", end);
}

void thin_conf_write_all(FILE *out, const struct thin_conf_key *keys, const void *object,
			 const char *end)
{
	char buf[THIN_CONF_TEXT];

	for (; keys->name; keys++)
		if (!keys->fallback ||
		    strcmp(keys->fallback, thin_conf_text(keys, object, buf)))
			thin_conf_write(out, keys, object, end);
}
