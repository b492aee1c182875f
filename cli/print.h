/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_CLI_PRINT_H
#define THINBD_CLI_PRINT_H

/* How answers look to a person: sizes, tables, colour where it is a terminal. */

#include <json-c/json.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIZE_TEXT_MAX 32

/*
 * @bytes exactly, in the largest unit that takes at most two decimals for it:
 * "64 KiB", "1.5 GiB", "1000001 B".  Returns @buf.
 */
const char *size_text(char buf[SIZE_TEXT_MAX], uint64_t bytes);

/* The parts of an answer.  A key that is missing is as one that is null. */
uint64_t number_of(struct json_object *o, const char *key);  /* null: 0 */
const char *text_of(struct json_object *o, const char *key); /* null: NULL */
bool flag_of(struct json_object *o, const char *key);	     /* null: false */
const char *size_of(char buf[SIZE_TEXT_MAX], struct json_object *o,
		    const char *key); /* null: "-" */

/* Is standard output a terminal that wants colour? */
bool colourful(void);

enum style {
	STYLE_PLAIN,
	STYLE_BOLD,
	STYLE_DIM,
	STYLE_GOOD,
	STYLE_WARN,
	STYLE_BAD,
};

/* Print @text (NULL: "-") to standard output; control characters become '?'. */
void print_styled(enum style style, const char *text);

/* "key  value", keys aligned to @width; nothing where @value is NULL or "". */
void print_fact(int width, const char *key, const char *value);
void print_styled_fact(int width, enum style style, const char *key, const char *value);

/* A bar of @width characters, @part of @whole filled. */
void bar_text(char *buf, int width, uint64_t part, uint64_t whole);

/*
 * What "show" tells of a volume's I/O (@io): a line for each kind of request, and how
 * many took how long.
 */
void print_io(struct json_object *io);

/* A table: filled row by row, printed with columns as wide as they must be. */
struct column {
	const char *title;
	bool right; /* aligned */
};

struct table;

struct table *table_new(const struct column *columns, size_t nr);
/* The next cell; NULL is shown as "-".  @text is copied. */
void table_add(struct table *t, const char *text);
void table_print(const struct table *t);
void table_free(struct table *t);

/* Memory for the front end: there is nothing to go on with without it. */
void *must_have(void *p);

/* A formatted text; free() it.  Never NULL. */
char *made_text(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#endif
