/* SPDX-License-Identifier: BSD-3-Clause */
#include "registry/conf.h"

#include "registry/conf_scan.h"

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
