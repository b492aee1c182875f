/* SPDX-License-Identifier: BSD-3-Clause */
/* restore-metadata: the backups that there are, and what going back changes. */
#include "cli.h"
#include "print.h"

#include <stdio.h>

static void print_list(struct json_object *backups)
{
	for (size_t i = 0; i < json_object_array_length(backups); i++) {
		struct json_object *o = json_object_array_get_idx(backups, i);

		printf("%s  made %s\n", text_of(o, "name"), text_of(o, "made"));
	}
}

static void print_messages(struct json_object *result, const char *key, enum style style)
{
	struct json_object *array = NULL;

	if (!json_object_object_get_ex(result, key, &array))
		return;
	for (size_t i = 0; i < json_object_array_length(array); i++) {
		print_styled(style,
			     text_of(json_object_array_get_idx(array, i), "message"));
		putchar('\n');
	}
}

/* What volumes have been deleted since nobody knows but by their numbers. */
static void print_devices(struct json_object *result)
{
	struct json_object *array = NULL;

	if (!json_object_object_get_ex(result, "only_in_backup", &array))
		return;
	for (size_t i = 0; i < json_object_array_length(array); i++)
		printf("device %s is in the backup, and no volume has it: "
		       "see thinbd(1) on how to name it\n",
		       text_of(json_object_array_get_idx(array, i), "device"));
}

static void print_restore(const struct cli *c, struct json_object *result)
{
	struct json_object *backups = NULL;
	bool restored = flag_of(result, "restored");

	(void)c;
	if (json_object_object_get_ex(result, "backups", &backups)) {
		print_list(backups);
		return;
	}
	print_messages(result, "losses", STYLE_BAD);
	print_messages(result, "remarks", STYLE_WARN);
	print_devices(result);
	printf("what was written in place since %s is there, in volumes of then\n",
	       text_of(result, "made"));
	if (restored)
		printf("restored from %s; what was there before is in %s\n",
		       text_of(result, "backup"), text_of(result, "kept"));
	else
		printf("so it would be with %s\n", text_of(result, "backup"));
}

static int restore_verdict(const struct cli *c, struct json_object *result)
{
	if (flag_of(result, "restored") ||
	    json_object_object_get_ex(result, "backups", NULL))
		return CLI_DONE;
	cli_say("%s: nothing was changed; --force goes back to this backup", c->pool);
	return CLI_COULD_NOT;
}

const struct command cli_restore = {
	.verb = "restore-metadata", .print = print_restore, .verdict = restore_verdict};
