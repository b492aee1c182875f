/* SPDX-License-Identifier: BSD-3-Clause */
#include "print.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

void *must_have(void *p)
{
	if (!p) {
		fputs("thinbd: out of memory\n", stderr);
		exit(1);
	}
	return p;
}

char *made_text(const char *fmt, ...)
{
	char *text = NULL;
	va_list ap;

	va_start(ap, fmt);
	if (vasprintf(&text, fmt, ap) < 0)
		text = NULL;
	va_end(ap);
	return must_have(text);
}

/* --- sizes ----------------------------------------------------------------- */

const char *size_text(char buf[SIZE_TEXT_MAX], uint64_t bytes)
{
	static const char prefix[] = "KMGTPE";

	for (int i = sizeof(prefix) - 2; i >= 0; i--) {
		unsigned shift = 10 * (i + 1);
		uint64_t whole = bytes >> shift;
		uint64_t rest = bytes & ((UINT64_C(1) << shift) - 1);
		/* Two decimals are exact where they are quarters. */
		unsigned quarters = shift >= 2 ? rest >> (shift - 2) : 0;

		if (!whole || rest & ((UINT64_C(1) << (shift - 2)) - 1))
			continue;
		static const char *const decimals[] = {"", ".25", ".5", ".75"};
		snprintf(buf, SIZE_TEXT_MAX, "%" PRIu64 "%s %ciB", whole,
			 decimals[quarters], prefix[i]);
		return buf;
	}
	snprintf(buf, SIZE_TEXT_MAX, "%" PRIu64 " B", bytes);
	return buf;
}

/* --- the parts of an answer ------------------------------------------------ */

static struct json_object *part_of(struct json_object *o, const char *key)
{
	struct json_object *part = NULL;

	if (!json_object_is_type(o, json_type_object))
		return NULL;
	(void)json_object_object_get_ex(o, key, &part);
	return part;
}

uint64_t number_of(struct json_object *o, const char *key)
{
	return json_object_get_uint64(part_of(o, key));
}

const char *text_of(struct json_object *o, const char *key)
{
	struct json_object *part = part_of(o, key);

	return part ? json_object_get_string(part) : NULL;
}

bool flag_of(struct json_object *o, const char *key)
{
	return json_object_get_boolean(part_of(o, key));
}

const char *size_of(char buf[SIZE_TEXT_MAX], struct json_object *o, const char *key)
{
	return part_of(o, key) ? size_text(buf, number_of(o, key)) : "-";
}

/* --- style ----------------------------------------------------------------- */

bool colourful(void)
{
	static int known = -1;

	if (known < 0) {
		const char *term = getenv("TERM");
		const char *no = getenv("NO_COLOR");

		known = isatty(STDOUT_FILENO) && term && strcmp(term, "dumb") != 0 &&
			!(no && *no);
	}
	return known;
}

/*
 * Descriptions and paths are others' words: they must not move the cursor.
 * C0 controls, DEL, and the C1 controls, which are c2 80 .. c2 9f in UTF-8.
 */
static void put_clean(const char *text)
{
	const unsigned char *c = (const unsigned char *)text, *clean = c;

	for (; *c; c++) {
		bool c1 = *c == 0xc2 && c[1] >= 0x80 && c[1] <= 0x9f;

		if (*c >= 0x20 && *c != 0x7f && !c1)
			continue;
		fwrite(clean, 1, (size_t)(c - clean), stdout);
		putchar('?');
		c += c1;
		clean = c + 1;
	}
	fwrite(clean, 1, (size_t)(c - clean), stdout);
}

void print_styled(enum style style, const char *text)
{
	static const char *const code[] = {
		[STYLE_PLAIN] = "",  [STYLE_BOLD] = "1",  [STYLE_DIM] = "2",
		[STYLE_GOOD] = "32", [STYLE_WARN] = "33", [STYLE_BAD] = "31",
	};
	bool on = style != STYLE_PLAIN && colourful();

	if (!text)
		text = "-";
	if (on)
		printf("\033[%sm", code[style]);
	put_clean(text);
	if (on)
		fputs("\033[0m", stdout);
}

/* Columns that @text takes: bytes that do not continue a UTF-8 character. */
static int columns_of(const char *text)
{
	int n = 0;

	for (; *text; text++)
		n += ((unsigned char)*text & 0xc0) != 0x80;
	return n;
}

static void print_padded(enum style style, const char *text, int width, bool right)
{
	int pad = width - columns_of(text);

	if (right)
		printf("%*s", pad > 0 ? pad : 0, "");
	print_styled(style, text);
	if (!right)
		printf("%*s", pad > 0 ? pad : 0, "");
}

void print_styled_fact(int width, enum style style, const char *key, const char *value)
{
	if (!value || !*value)
		return;
	print_padded(STYLE_DIM, key, width, false);
	fputs("  ", stdout);
	print_styled(style, value);
	putchar('\n');
}

void print_fact(int width, const char *key, const char *value)
{
	print_styled_fact(width, STYLE_PLAIN, key, value);
}

void bar_text(char *buf, int width, uint64_t part, uint64_t whole)
{
	int full = whole ? (int)((double)part / (double)whole * width) : 0;

	for (int i = 0; i < width; i++)
		buf[i] = i < full || (i == 0 && part) ? '#' : '.';
	buf[width] = '\0';
}

/* --- tables ---------------------------------------------------------------- */

struct table {
	const struct column *columns;
	size_t nr_columns;
	char **cells; /* row by row */
	size_t nr_cells;
};

struct table *table_new(const struct column *columns, size_t nr)
{
	struct table *t = must_have(calloc(1, sizeof(*t)));

	t->columns = columns;
	t->nr_columns = nr;
	return t;
}

void table_add(struct table *t, const char *text)
{
	/* Grown at powers of two. */
	if ((t->nr_cells & (t->nr_cells - 1)) == 0) {
		size_t room = t->nr_cells ? 2 * t->nr_cells : 1;
		t->cells = must_have(realloc(t->cells, room * sizeof(*t->cells)));
	}
	t->cells[t->nr_cells++] = must_have(strdup(text ? text : "-"));
}

static int column_width(const struct table *t, size_t column)
{
	int width = columns_of(t->columns[column].title);

	for (size_t i = column; i < t->nr_cells; i += t->nr_columns) {
		int cell = columns_of(t->cells[i]);
		width = cell > width ? cell : width;
	}
	return width;
}

static void print_cell(const struct table *t, size_t column, int width, enum style style,
		       const char *text)
{
	bool last = column + 1 == t->nr_columns;

	/* No blanks at the ends of lines. */
	if (last && !t->columns[column].right)
		width = 0;
	print_padded(style, text, width, t->columns[column].right);
	fputs(last ? "\n" : "  ", stdout);
}

void table_print(const struct table *t)
{
	int *width = must_have(calloc(t->nr_columns, sizeof(*width)));

	assert(t->nr_cells % t->nr_columns == 0);
	for (size_t i = 0; i < t->nr_columns; i++)
		width[i] = column_width(t, i);
	for (size_t i = 0; i < t->nr_columns; i++)
		print_cell(t, i, width[i], STYLE_BOLD, t->columns[i].title);
	for (size_t i = 0; i < t->nr_cells; i++)
		print_cell(t, i % t->nr_columns, width[i % t->nr_columns], STYLE_PLAIN,
			   t->cells[i]);
	free(width);
}

void table_free(struct table *t)
{
	for (size_t i = 0; i < t->nr_cells; i++)
		free(t->cells[i]);
	free(t->cells);
	free(t);
}
