/* SPDX-License-Identifier: BSD-3-Clause */
/* Usage, from the table of verbs. */
#include "cli.h"
#include "print.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
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

/* "--data-size SIZE", "NAME"; free() it. */
static char *param_text(const struct thinbd_param *p)
{
	char *text, *c;

	if (p->flags & THINBD_POSITIONAL)
		return must_have(strdup(p->value));
	text = made_text("--%s%s%s", p->name, p->value ? " " : "",
			 p->value ? p->value : "");
	for (c = text; *c && *c != ' '; c++)
		if (*c == '_')
			*c = '-';
	return text;
}

/* As in usage: what may be left out in [ ], what may be repeated with "..."; free() it.
 */
static char *usage_text(const struct thinbd_param *p)
{
	bool needed = p->flags & THINBD_REQUIRED;
	char *what = param_text(p), *text;

	if (p->group > 1)
		text = made_text("%s [%s]...", what, what);
	else if (p->group && !(p->flags & THINBD_POSITIONAL))
		text = made_text("[%s]...", what);
	else
		text = made_text(needed ? "%s%s" : "[%s%s]", what, p->group ? "..." : "");
	free(what);
	return text;
}

/* One parameter of a usage line that is @column long; returns how long it is then. */
static int print_param(const struct thinbd_param *p, int column, int indent)
{
	char *text = usage_text(p);

	if (column + 1 + (int)strlen(text) > HELP_WIDTH)
		column = printf("\n%*s", indent, "") - 1;
	column += printf(" %s", text);
	free(text);
	return column;
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
	print_usage(v);
	printf("\n%c%s.\n", toupper((unsigned char)v->help[0]), v->help + 1);
	if (v->nr_params)
		putchar('\n');
	for (size_t i = 0; i < v->nr_params; i++) {
		char *what = param_text(&v->params[i]);

		print_line(what, v->params[i].help);
		free(what);
	}
	puts("\nOptions of every verb:");
	print_globals();
}
