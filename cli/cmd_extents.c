/* SPDX-License-Identifier: BSD-3-Clause */
/* Verbs on what volumes are made of: flatten, map, diff. */
#include "cli.h"
#include "print.h"

#include <stdio.h>

static void print_flatten(const struct cli *c, struct json_object *result)
{
	char copied[SIZE_TEXT_MAX];

	(void)c;
	print_styled(STYLE_BOLD, text_of(result, "name"));
	if (flag_of(result, "done"))
		printf(": stands alone, %s copied\n",
		       size_of(copied, result, "copied_bytes"));
	else
		puts(": is being flattened in the background");
}

/* As wide as the largest volume with odd bytes could ask for. */
static void print_extent(const struct cli *c, struct json_object *extent)
{
	char offset[SIZE_TEXT_MAX], length[SIZE_TEXT_MAX];
	const char *type = text_of(extent, "type");

	(void)c;
	printf("%20s %20s", size_of(offset, extent, "offset"),
	       size_of(length, extent, "length"));
	if (type) {
		fputs("  ", stdout);
		print_styled(type[0] == 'z' ? STYLE_DIM : STYLE_PLAIN, type);
	}
	putchar('\n');
}

const struct command cli_flatten = {.verb = "flatten", .print = print_flatten};
const struct command cli_map = {.verb = "map", .item = print_extent};
const struct command cli_diff = {.verb = "diff", .item = print_extent};
