/* SPDX-License-Identifier: BSD-3-Clause */
/* check: what is damaged, what was repaired, and what that costs. */
#include "cli.h"
#include "print.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void print_names(struct json_object *names)
{
	if (!json_object_array_length(names))
		return;
	fputs(" (", stdout);
	for (size_t i = 0; i < json_object_array_length(names); i++) {
		fputs(i ? ", " : "", stdout);
		print_styled(STYLE_PLAIN,
			     json_object_get_string(json_object_array_get_idx(names, i)));
	}
	putchar(')');
}

/* The messages of an array, each on a line. */
static size_t print_messages(struct json_object *result, const char *key,
			     enum style style)
{
	struct json_object *array = NULL, *names = NULL;

	if (!json_object_object_get_ex(result, key, &array))
		return 0;
	for (size_t i = 0; i < json_object_array_length(array); i++) {
		struct json_object *o = json_object_array_get_idx(array, i);

		print_styled(style, text_of(o, "message"));
		if (json_object_object_get_ex(o, "volumes", &names))
			print_names(names);
		putchar('\n');
	}
	return json_object_array_length(array);
}

static void print_check(const struct cli *c, struct json_object *result)
{
	bool clean = flag_of(result, "clean"), repaired = flag_of(result, "repaired");
	char text[128];

	(void)c;
	print_messages(result, "problems", STYLE_BAD);
	if (print_messages(result, "losses", STYLE_BAD) && !repaired)
		puts("so it would be after a repair, which was not made");
	print_messages(result, "remarks", STYLE_WARN);
	if (text_of(result, "kept"))
		printf("what was there before is in %s\n", text_of(result, "kept"));
	snprintf(text, sizeof(text), "%" PRIu64 " errors, %" PRIu64 " leaks",
		 number_of(result, "errors"), number_of(result, "leaks"));
	print_styled(clean ? STYLE_GOOD : STYLE_BAD, clean ? "clean" : text);
	printf(": %" PRIu64 " metadata blocks checked%s\n",
	       number_of(result, "blocks_checked"), repaired ? ", repaired" : "");
}

static int check_verdict(const struct cli *c, struct json_object *result)
{
	struct json_object *losses = NULL;
	bool loses = json_object_object_get_ex(result, "losses", &losses) &&
		     json_object_array_length(losses);

	if (flag_of(result, "clean"))
		return CLI_DONE;
	if (!json_object_object_get_ex(c->args, "repair", NULL))
		cli_say("%s: damaged; thinbd check --repair says first what it would "
			"cost",
			c->pool);
	else if (loses && !flag_of(result, "repaired"))
		cli_say("%s: nothing was changed, since volumes would lose data; restore "
			"a "
			"backup (thinbd restore-metadata --list), or repair it with "
			"--force",
			c->pool);
	else
		cli_say("%s: damaged, and not all of it could be repaired; restore what "
			"is "
			"missing from a backup",
			c->pool);
	return CLI_COULD_NOT;
}

const struct command cli_check = {
	.verb = "check", .print = print_check, .verdict = check_verdict};
