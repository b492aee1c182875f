/* SPDX-License-Identifier: BSD-3-Clause */
#include "registry/name.h"

#include <assert.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

/* Not isalnum(): that asks the locale. */
static bool is_alnum(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

static bool is_name_char(char c)
{
	return is_alnum(c) || c == '.' || c == '_' || c == '-';
}

char *thin_name_escape(const char *text, char buf[static THIN_NAME_ESCAPED])
{
	size_t room = THIN_NAME_ESCAPED - sizeof("...");
	char *out = buf;

	for (; *text; text++) {
		bool plain = *text >= 0x20 && *text < 0x7f && *text != '\\';
		size_t need = plain ? 1 : 4;

		if (need > room) {
			strcpy(out, "...");
			return buf;
		}
		room -= need;
		out += sprintf(out, plain ? "%c" : "\\x%02x", (unsigned char)*text);
	}
	*out = '\0';
	return buf;
}

static int bad_name(const char *name, struct thin_error *e, const char *why)
{
	char escaped[THIN_NAME_ESCAPED];

	return thin_error_set(e, -EINVAL, "\"%s\" is not a volume name: %s",
			      thin_name_escape(name, escaped), why);
}

static int bad_char(const char *name, char c, struct thin_error *e)
{
	char escaped[THIN_NAME_ESCAPED], why[THIN_NAME_ESCAPED + 64];

	snprintf(why, sizeof(why),
		 "'%s' is not allowed (letters, digits and . _ - are; one @)",
		 thin_name_escape((char[]){c, '\0'}, escaped));
	return bad_name(name, e, why);
}

/* One part, at *@at, which is moved past it. */
static int check_part(const char *name, const char **at, struct thin_error *e)
{
	const char *part = *at;
	size_t len = 0;

	if (!*part || *part == '@')
		return bad_name(name, e,
				*name == '@' ? "nothing before '@'"
					     : "nothing after '@'");
	if (is_name_char(*part) && !is_alnum(*part))
		return bad_name(name, e, "it must begin with a letter or a digit");
	while (is_name_char(part[len]))
		if (++len > THIN_NAME_PART_MAX)
			return bad_name(name, e, "longer than 63 characters");
	if (part[len] && part[len] != '@')
		return bad_char(name, part[len], e);
	*at = part + len;
	return 0;
}

int thin_name_check(const char *name, struct thin_error *e)
{
	const char *at = name;
	int r;

	if (!*name)
		return thin_error_set(e, -EINVAL, "an empty name is not a volume name");
	r = check_part(name, &at, e);
	if (r || !*at)
		return r;
	at++;
	r = check_part(name, &at, e);
	if (r)
		return r;
	if (*at)
		return bad_name(name, e, "a second '@'");
	return 0;
}

bool thin_name_is_snapshot(const char *name)
{
	return strchr(name, '@');
}

void thin_name_split(const char *name, struct thin_name_parts *ret)
{
	const char *tag = strchrnul(name, '@');
	size_t len = (size_t)(tag - name);

	assert(len < sizeof(ret->base));
	memcpy(ret->base, name, len);
	ret->base[len] = '\0';
	if (*tag)
		tag++;
	assert(strlen(tag) < sizeof(ret->tag));
	strcpy(ret->tag, tag);
}

/* Bytes of the UTF-8 sequence at @s; 0 where it is none, or overlong. */
static size_t utf8_len(const unsigned char *s)
{
	static const uint32_t least[] = {0, 0, 0x80, 0x800, 0x10000};
	size_t len = *s < 0x80 ? 1 : *s < 0xc0 ? 0 : *s < 0xe0 ? 2 : *s < 0xf0 ? 3 : 4;
	uint32_t c = len == 1 ? *s : *s & (0x7fu >> len);

	if (*s >= 0xf8)
		return 0;
	for (size_t i = 1; i < len; i++) {
		if ((s[i] & 0xc0) != 0x80)
			return 0;
		c = c << 6 | (s[i] & 0x3fu);
	}
	if (!len || c < least[len] || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
		return 0;
	return len;
}

/* C0, DEL, and C1, which a terminal obeys as well. */
static bool is_control(const unsigned char *s)
{
	return *s < 0x20 || *s == 0x7f || (*s == 0xc2 && s[1] < 0xa0);
}

int thin_text_check(const char *text, size_t max, struct thin_error *e)
{
	const unsigned char *s = (const unsigned char *)text;
	size_t len;

	if (strnlen(text, max + 1) > max)
		return thin_error_set(e, -EDQUOT, "longer than %zu bytes", max);
	for (; *s; s += len) {
		len = utf8_len(s);
		if (!len || is_control(s))
			return thin_error_set(e, -EINVAL, "byte %zu is %s",
					      (size_t)(s - (const unsigned char *)text) +
						      1,
					      len ? "a control character" : "not UTF-8");
	}
	return 0;
}
