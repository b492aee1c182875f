/* SPDX-License-Identifier: BSD-3-Clause */
/* Usage, from the table of verbs. */
#include "cli.h"
#include "print.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

/* Where the second column starts, and where lines are broken. */
#define HELP_COLUMN 30
#define HELP_WIDTH  78

static const struct {
	const char *option;
	const char *help;
} globals[] = {
	{"--pool DIR", "the pool; else $THINBD_POOL, else `pool` in the configuration"},
	{"--config FILE", "instead of " CLI_DEFAULT_CONFIG},
	{"--json", "answers and errors as one JSON document"},
	{"--help", "this; after a verb, about that verb"},
	{"--version", "the version"},
};

static void print_line(const char *what, const char *help)
{
	printf("  %-*s%s%s\n", HELP_COLUMN - 2, what,
	       strlen(what) > HELP_COLUMN - 3 ? " " : "", help);
}

static void print_globals(void)
{
	for (size_t i = 0; i < sizeof(globals) / sizeof(globals[0]); i++)
		print_line(globals[i].option, globals[i].help);
}

void cli_print_help(void)
{
	size_t nr;
	const struct thinbd_verb *verbs = thinbd_verbs(&nr);

	puts("thinbd [--pool DIR] [--json] [--help] [--version] VERB [ARGUMENT...]\n\n"
	     "Thin volumes over NBD.\n\nVerbs:");
	for (size_t i = 0; i < nr; i++)
		print_line(verbs[i].name, verbs[i].help);
	puts("\nOptions, before or after the verb:");
	print_globals();
	puts("\nMore in thinbd(1), and by thinbd VERB --help.");
}

/* "--data-size SIZE", "NAME" */
static void param_text(char *buf, size_t size, const struct thinbd_param *p)
{
	char *c = buf;

	if (p->flags & THINBD_POSITIONAL) {
		snprintf(buf, size, "%s", p->value);
		return;
	}
	snprintf(buf, size, "--%s%s%s", p->name, p->value ? " " : "",
		 p->value ? p->value : "");
	for (; *c && *c != ' '; c++)
		if (*c == '_')
			*c = '-';
}

/* As in usage: what may be left out in [ ], what may be repeated with "...". */
static void usage_text(char *buf, size_t size, const struct thinbd_param *p)
{
	bool needed = p->flags & THINBD_REQUIRED;
	bool option = !(p->flags & THINBD_POSITIONAL);
	char what[128];

	param_text(what, sizeof(what), p);
	if (p->group > 1)
		snprintf(buf, size, "%s [%s]...", what, what);
	else if (p->group && !option)
		snprintf(buf, size, needed ? "%s..." : "[%s...]", what);
	else if (p->group)
		snprintf(buf, size, "[%s]...", what);
	else
		snprintf(buf, size, needed ? "%s" : "[%s]", what);
}

/* One parameter of a usage line that is @column long; returns how long it is then. */
static int print_param(const struct thinbd_param *p, int column, int indent)
{
	char text[256];

	usage_text(text, sizeof(text), p);
	if (column + 1 + (int)strlen(text) > HELP_WIDTH)
		column = printf("\n%*s", indent, "") - 1;
	return column + printf(" %s", text);
}

/* Operands first, then options, in lines that end between them. */
static void print_usage(const struct thinbd_verb *v)
{
	int indent = printf("thinbd %s", v->name);
	int column = indent;

	for (size_t i = 0; i < v->nr_params; i++)
		if (v->params[i].flags & THINBD_POSITIONAL)
			column = print_param(&v->params[i], column, indent);
	for (size_t i = 0; i < v->nr_params; i++)
		if (!(v->params[i].flags & THINBD_POSITIONAL))
			column = print_param(&v->params[i], column, indent);
	putchar('\n');
}

void cli_print_verb_help(const struct thinbd_verb *v)
{
	char what[128];

	print_usage(v);
	printf("\n%c%s.\n", toupper((unsigned char)v->help[0]), v->help + 1);
	if (v->nr_params)
		putchar('\n');
	for (size_t i = 0; i < v->nr_params; i++) {
		param_text(what, sizeof(what), &v->params[i]);
		print_line(what, v->params[i].help);
	}
	puts("\nOptions of every verb:");
	print_globals();
}
