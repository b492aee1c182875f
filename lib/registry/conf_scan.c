/* SPDX-License-Identifier: BSD-3-Clause */
#include "registry/conf_scan.h"

#include "util/cleanup.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Move past @len characters, counting lines. */
static void skip(struct thin_scanner *s, size_t len)
{
	for (; len; len--)
		if (*s->at++ == '\n')
			s->line++;
}

/* Past one comment, where there is one; *@ret says whether. */
static int skip_comment(struct thin_scanner *s, bool *ret, struct thin_error *e)
{
	const char *end;

	*ret = true;
	if (*s->at == '#' || !strncmp(s->at, "//", 2)) {
		skip(s, strcspn(s->at, "\n"));
		return 0;
	}
	if (strncmp(s->at, "/*", 2)) {
		*ret = false;
		return 0;
	}
	end = strstr(s->at + 2, "*/");
	if (!end)
		return thin_error_set(e, -EINVAL, "a comment without an end");
	skip(s, (size_t)(end + 2 - s->at));
	return 0;
}

static int skip_blanks(struct thin_scanner *s, struct thin_error *e)
{
	bool more = true;

	while (more) {
		int r;

		skip(s, strspn(s->at, " \t\r\n\f"));
		r = skip_comment(s, &more, e);
		if (r)
			return r;
	}
	return 0;
}

/* Length of the string at @at, with both quotes; 0 where it does not end. */
static size_t string_len(const char *at)
{
	size_t len = 1;

	for (; at[len] != '"'; len++) {
		if (at[len] == '\\' && at[len + 1])
			len++;
		if (!at[len])
			return 0;
	}
	return len + 1;
}

static size_t word_len(const char *at)
{
	size_t len = 0;

	while (isalnum((unsigned char)at[len]) || (at[len] && strchr("+-._*", at[len])))
		len++;
	return len;
}

int thin_scan(struct thin_scanner *s, struct thin_token *ret, struct thin_error *e)
{
	struct thin_token t;
	int r;

	r = skip_blanks(s, e);
	if (r)
		return r;

	t = (struct thin_token){THIN_TOKEN_SIGN, s->at, 1, s->line};
	if (!*s->at) {
		t.kind = THIN_TOKEN_END;
		t.len = 0;
	} else if (*s->at == '"') {
		t.kind = THIN_TOKEN_STRING;
		t.len = string_len(s->at);
		if (!t.len)
			return thin_error_set(e, -EINVAL, "a string without an end");
	} else {
		size_t len = word_len(s->at);

		t.kind = len ? THIN_TOKEN_WORD : THIN_TOKEN_SIGN;
		t.len = len ? len : 1;
	}
	skip(s, t.len);
	*ret = t;
	return 0;
}

enum width {
	NOT_A_NUMBER,
	FITS,
	WANTS_L,
	TOO_WIDE
};

/* What is to be done with the word @t, if it is a whole number? */
static enum width number_width(const struct thin_token *t)
{
	_cleanup_free char *word = NULL;
	bool hex, has_l = false;
	char *end;

	if (!isdigit((unsigned char)*t->text) && *t->text != '-' && *t->text != '+')
		return NOT_A_NUMBER; /* most words are keys */
	word = strndup(t->text, t->len);
	if (!word)
		return TOO_WIDE;
	hex = !strncasecmp(word, "0x", 2);
	errno = 0;
	if (hex) {
		unsigned long long n = strtoull(word, &end, 16);

		has_l = n > INT32_MAX;
	} else {
		long long n = strtoll(word, &end, 10);

		has_l = n > INT32_MAX || n < INT32_MIN;
	}
	if (end == word || strspn(end, "L") != strlen(end))
		return NOT_A_NUMBER;
	if (errno)
		return TOO_WIDE;
	return has_l && !*end ? WANTS_L : FITS;
}

static int refuse(const char *where, unsigned line, int err, const char *what,
		  struct thin_error *e)
{
	return thin_error_set(e, err, "%s:%u: %s", where, line, what);
}

/* A text that is being written, with room for all that it can get. */
struct wide {
	char *text;
	size_t len;
};

static void append(struct wide *out, const char *text, size_t len)
{
	memcpy(out->text + out->len, text, len);
	out->len += len;
}

/* Copy all tokens of @s to @out with what is between them, each one widened. */
static int widen_tokens(const char *where, struct thin_scanner *s, struct wide *out,
			struct thin_error *e)
{
	struct thin_error detail = {""};

	for (;;) {
		const char *from = s->at;
		struct thin_token t;
		int r;

		r = thin_scan(s, &t, &detail);
		if (r)
			return refuse(where, s->line, r, detail.text, e);
		append(out, from, (size_t)(s->at - from));
		if (t.kind == THIN_TOKEN_END)
			return 0;
		if (t.kind == THIN_TOKEN_SIGN && *t.text == '@')
			return refuse(where, t.line, -EINVAL, "@include is not allowed",
				      e);
		if (t.kind != THIN_TOKEN_WORD)
			continue;
		switch (number_width(&t)) {
		case TOO_WIDE:
			return refuse(where, t.line, -ERANGE, "the number is too big", e);
		case WANTS_L:
			append(out, "L", 1);
			break;
		default:
			break;
		}
	}
}

/* An L for each number, which has ten characters at least; a newline, and a NUL. */
static size_t most_bytes(size_t len)
{
	return len + len / 10 + 2;
}

int thin_conf_widen(const char *where, const char *text, char **ret_text,
		    struct thin_error *e)
{
	_cleanup_free char *room = malloc(most_bytes(strlen(text)));
	struct thin_scanner s = {.at = text, .line = 1};
	struct wide out = {.text = room};
	int r;

	if (!room)
		return -ENOMEM;
	r = widen_tokens(where, &s, &out, e);
	if (r)
		return r;
	/* libconfig wants one after a comment. */
	if (out.len && room[out.len - 1] != '\n')
		append(&out, "\n", 1);
	append(&out, "", 1);
	*ret_text = thin_steal(room);
	return 0;
}

static bool is_sign(const struct thin_token *t, const char *set)
{
	return t->kind == THIN_TOKEN_SIGN && strchr(set, *t->text);
}

static bool is_value(const struct thin_token *t)
{
	return t->kind == THIN_TOKEN_WORD || t->kind == THIN_TOKEN_STRING;
}

static bool is_word(const struct thin_token *t, const char *word)
{
	return t->kind == THIN_TOKEN_WORD && t->len == strlen(word) &&
	       !strncmp(t->text, word, t->len);
}

/*
 * The value that begins at @first: several strings in a row are one value,
 * a word is one alone.  The end is the end of its last token.
 */
static int value_end(struct thin_scanner s, const struct thin_token *first,
		     const char **ret_end)
{
	const char *end = first->text + first->len;
	struct thin_token t = *first;
	int r = 0;

	if (!is_value(first))
		return -EINVAL;
	while (!r && t.kind == THIN_TOKEN_STRING) {
		end = t.text + t.len;
		r = thin_scan(&s, &t, NULL);
	}
	*ret_end = end;
	return r;
}

/* Where @key's value stands in @text; *@ret_from NULL where it has none. */
static int find_value(const char *text, const char *key, const char **ret_from,
		      const char **ret_end)
{
	struct thin_scanner s = {.at = text, .line = 1};
	struct thin_token t, before = {.kind = THIN_TOKEN_END};
	int r, depth = 0;

	*ret_from = NULL;
	while (!(r = thin_scan(&s, &t, NULL)) && t.kind != THIN_TOKEN_END) {
		depth += is_sign(&t, "{([");
		depth -= is_sign(&t, "})]");
		if (depth == 0 && is_sign(&t, "=:") && is_word(&before, key)) {
			r = thin_scan(&s, &t, NULL);
			if (r)
				return r;
			*ret_from = t.text;
			return value_end(s, &t, ret_end);
		}
		before = t;
	}
	return r;
}

int thin_conf_edit(const char *text, const char *key, const char *value, char **ret_text)
{
	const char *from, *end, *newline = "";
	size_t len = strlen(text);
	char *edited;
	int r;

	r = find_value(text, key, &from, &end);
	if (r)
		return r;
	if (len && text[len - 1] != '\n')
		newline = "\n";
	if (from)
		r = asprintf(&edited, "%.*s%s%s", (int)(from - text), text, value, end);
	else
		r = asprintf(&edited, "%s%s%s = %s;\n", text, newline, key, value);
	if (r < 0)
		return -ENOMEM;
	*ret_text = edited;
	return 0;
}
