/* SPDX-License-Identifier: BSD-3-Clause */
/* The I/O of a volume, for a person. */
#include "print.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define BAR_WIDTH 24

/* In the order of the table's columns. */
static const char *const kinds[] = {"reads", "writes", "trims", "zeroes", "flushes"};

#define NR_KINDS (sizeof(kinds) / sizeof(kinds[0]))

/* A power of two of microseconds has a line; the last one is for all above. */
#define NR_LINES 28

struct histogram {
	uint64_t of[NR_LINES][NR_KINDS];
	uint64_t total[NR_LINES];
	uint64_t largest; /* of the totals */
};

static struct json_object *part_of(struct json_object *o, const char *key)
{
	struct json_object *part = NULL;

	(void)json_object_object_get_ex(o, key, &part);
	return part;
}

static const char *latency_text(char buf[SIZE_TEXT_MAX], uint64_t us)
{
	if (us < 10000)
		snprintf(buf, SIZE_TEXT_MAX, "%" PRIu64 " us", us);
	else if (us < 10000000)
		snprintf(buf, SIZE_TEXT_MAX, "%" PRIu64 " ms", us / 1000);
	else
		snprintf(buf, SIZE_TEXT_MAX, "%" PRIu64 " s", us / 1000000);
	return buf;
}

static void add_latency(struct table *t, struct json_object *latency, const char *key)
{
	char text[SIZE_TEXT_MAX];
	struct json_object *us = part_of(latency, key);

	table_add(t, us ? latency_text(text, json_object_get_uint64(us)) : NULL);
}

static void add_kind(struct table *t, const char *name, struct json_object *o)
{
	struct json_object *latency = part_of(o, "latency_us");
	char text[SIZE_TEXT_MAX];

	table_add(t, name);
	table_add(t, text_of(o, "operations"));
	table_add(t, size_of(text, o, "bytes"));
	table_add(t, text_of(o, "errors"));
	add_latency(t, latency, "mean");
	add_latency(t, latency, "p50");
	add_latency(t, latency, "p99");
	add_latency(t, latency, "max");
}

static void print_kinds(struct json_object *io)
{
	static const struct column columns[] = {
		{"", false},	{"operations", true}, {"bytes", true}, {"errors", true},
		{"mean", true}, {"p50", true},	      {"p99", true},   {"max", true},
	};
	struct table *t = table_new(columns, sizeof(columns) / sizeof(columns[0]));

	for (size_t i = 0; i < NR_KINDS; i++)
		add_kind(t, kinds[i], part_of(io, kinds[i]));
	table_print(t);
	table_free(t);
}

/* --- the histogram --------------------------------------------------------- */

/* The line whose power of two is the first that is not below @us. */
static size_t line_of(uint64_t us)
{
	size_t line = 0;

	while (line < NR_LINES - 1 && (UINT64_C(1) << line) < us)
		line++;
	return line;
}

static void gather_kind(struct histogram *h, size_t kind, struct json_object *buckets)
{
	size_t nr = buckets ? json_object_array_length(buckets) : 0;

	for (size_t i = 0; i < nr; i++) {
		struct json_object *o = json_object_array_get_idx(buckets, i);
		size_t line = line_of(number_of(o, "below_us"));

		h->of[line][kind] += number_of(o, "operations");
		h->total[line] += number_of(o, "operations");
		if (h->total[line] > h->largest)
			h->largest = h->total[line];
	}
}

static void add_line(struct table *t, const struct histogram *h, size_t line)
{
	char text[SIZE_TEXT_MAX], bar[BAR_WIDTH + 1];
	char *edge = made_text("< %s", latency_text(text, UINT64_C(1) << line));

	table_add(t, edge);
	free(edge);
	for (size_t i = 0; i < NR_KINDS; i++) {
		snprintf(text, sizeof(text), "%" PRIu64, h->of[line][i]);
		table_add(t, h->of[line][i] ? text : ".");
	}
	bar_text(bar, BAR_WIDTH, h->total[line], h->largest);
	bar[strcspn(bar, ".")] = '\0';
	table_add(t, bar);
}

static void print_histogram(const struct histogram *h)
{
	static const struct column columns[] = {
		{"latency", true}, {"reads", true},   {"writes", true}, {"trims", true},
		{"zeroes", true},  {"flushes", true}, {"", false},
	};
	struct table *t = table_new(columns, sizeof(columns) / sizeof(columns[0]));
	size_t first = 0, last = NR_LINES;

	while (!h->total[first])
		first++;
	while (!h->total[last - 1])
		last--;
	for (size_t line = first; line < last; line++)
		add_line(t, h, line);
	table_print(t);
	table_free(t);
}

void print_io(struct json_object *io)
{
	struct histogram h = {0};

	if (!json_object_is_type(io, json_type_object))
		return;
	printf("\nI/O since %s\n", text_of(io, "since"));
	print_kinds(io);
	for (size_t i = 0; i < NR_KINDS; i++)
		gather_kind(&h, i, part_of(part_of(io, kinds[i]), "histogram"));
	if (!h.largest)
		return;
	putchar('\n');
	print_histogram(&h);
}
