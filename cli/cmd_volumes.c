/* SPDX-License-Identifier: BSD-3-Clause */
/* Verbs on volumes: create, snapshot, delete, rename, set, resize, rollback, show. */
#include "cli.h"
#include "print.h"

#include <inttypes.h>
#include <stdio.h>

/* "vm1  10 GiB  read-only  over /images/debian.raw" */
static void print_volume(const struct cli *c, struct json_object *volume)
{
	const char *origin = text_of(volume, "origin");
	char size[SIZE_TEXT_MAX];

	(void)c;
	print_styled(STYLE_BOLD, text_of(volume, "name"));
	printf("  %s", size_of(size, volume, "size"));
	if (flag_of(volume, "readonly"))
		fputs("  read-only", stdout);
	if (origin) {
		fputs("  over ", stdout);
		print_styled(STYLE_PLAIN, origin);
	}
	putchar('\n');
}

/* The names in @array, separated by blanks. */
static void print_names(struct json_object *array)
{
	size_t nr = json_object_array_length(array);

	for (size_t i = 0; i < nr; i++) {
		if (i)
			putchar(' ');
		print_styled(STYLE_PLAIN,
			     json_object_get_string(json_object_array_get_idx(array, i)));
	}
}

/* One volume, or the names of those that were made together. */
static void print_created(const struct cli *c, struct json_object *result)
{
	struct json_object *names = NULL;

	/* Of one volume it is a time. */
	if (!json_object_object_get_ex(result, "names", &names) ||
	    !json_object_is_type(names, json_type_array)) {
		print_volume(c, result);
	} else if (json_object_array_length(names)) {
		fputs("created ", stdout);
		print_names(names);
		putchar('\n');
	}
}

static void print_volumes(const struct cli *c, struct json_object *volumes)
{
	size_t nr = json_object_array_length(volumes);

	for (size_t i = 0; i < nr; i++)
		print_volume(c, json_object_array_get_idx(volumes, i));
}

static void print_deleted(const struct cli *c, struct json_object *result)
{
	bool dry_run = flag_of(result, "dry_run");
	struct json_object *names = NULL;
	char size[SIZE_TEXT_MAX], left[SIZE_TEXT_MAX];

	(void)c;
	(void)json_object_object_get_ex(result, "deleted", &names);
	if (!json_object_array_length(names))
		return;
	fputs(dry_run ? "would delete " : "deleted ", stdout);
	print_names(names);
	if (number_of(result, "freeing_bytes"))
		printf(", freeing up to %s\n", size_of(left, result, "freeing_bytes"));
	else
		printf(", %s %s\n", dry_run ? "which frees" : "freed",
		       size_of(size, result, "freed_bytes"));
}

/* --- show -------------------------------------------------------------------- */

#define KEY_WIDTH 16

/* The size as a person reads it, and in bytes. */
static void print_size_fact(struct json_object *o, const char *title, const char *key)
{
	char text[SIZE_TEXT_MAX], both[2 * SIZE_TEXT_MAX];

	snprintf(both, sizeof(both), "%s (%" PRIu64 " bytes)", size_of(text, o, key),
		 number_of(o, key));
	print_fact(KEY_WIDTH, title, both);
}

static void print_identity(struct json_object *volume)
{
	struct json_object *identity = NULL;

	(void)json_object_object_get_ex(volume, "origin_identity", &identity);
	if (!json_object_is_type(identity, json_type_object))
		return;
	json_object_object_foreach(identity, key, value)
	{
		char title[64];

		snprintf(title, sizeof(title), "  %s", key);
		print_fact(KEY_WIDTH, title, json_object_get_string(value));
	}
}

static void print_snapshots(struct json_object *volume)
{
	struct json_object *names = NULL;

	(void)json_object_object_get_ex(volume, "snapshots", &names);
	if (!json_object_is_type(names, json_type_array) ||
	    !json_object_array_length(names))
		return;
	for (size_t i = 0; i < json_object_array_length(names); i++)
		print_fact(KEY_WIDTH, i ? "" : "snapshots",
			   json_object_get_string(json_object_array_get_idx(names, i)));
}

static void print_show(const struct cli *c, struct json_object *volume)
{
	const char *problem = text_of(volume, "problem");
	struct json_object *io = NULL;

	(void)c;
	print_fact(KEY_WIDTH, "name", text_of(volume, "name"));
	print_fact(KEY_WIDTH, "description", text_of(volume, "description"));
	print_size_fact(volume, "size", "size");
	print_size_fact(volume, "mapped", "mapped_bytes");
	print_size_fact(volume, "exclusive", "exclusive_bytes");
	if (number_of(volume, "reserve_bytes")) {
		print_size_fact(volume, "reserve", "reserve_bytes");
		print_size_fact(volume, "  of it kept free", "reserve_left_bytes");
	}
	print_fact(KEY_WIDTH, "read-only", flag_of(volume, "readonly") ? "yes" : "no");
	print_fact(KEY_WIDTH, "clients", text_of(volume, "clients"));
	print_fact(KEY_WIDTH, "created", text_of(volume, "created"));
	print_fact(KEY_WIDTH, "device", text_of(volume, "device"));
	print_fact(KEY_WIDTH, "transaction", text_of(volume, "transaction_id"));
	print_fact(KEY_WIDTH, "creation time", text_of(volume, "creation_time"));
	print_fact(KEY_WIDTH, "snapshot time", text_of(volume, "snapshotted_time"));
	print_fact(KEY_WIDTH, "parent", text_of(volume, "parent"));
	print_fact(KEY_WIDTH, "origin", text_of(volume, "origin"));
	print_identity(volume);
	print_snapshots(volume);
	if (problem) {
		print_styled(STYLE_BAD, "problem: ");
		print_styled(STYLE_BAD, problem);
		putchar('\n');
	}
	if (json_object_object_get_ex(volume, "io", &io))
		print_io(io);
}

const struct command cli_create = {.verb = "create", .print = print_created};
const struct command cli_snapshot = {.verb = "snapshot", .print = print_volumes};
const struct command cli_delete = {.verb = "delete", .print = print_deleted};
const struct command cli_rename = {.verb = "rename", .print = print_volume};
const struct command cli_set = {.verb = "set", .print = print_volume};
const struct command cli_resize = {.verb = "resize", .print = print_volume};
const struct command cli_rollback = {.verb = "rollback", .print = print_volume};
const struct command cli_show = {.verb = "show", .print = print_show};
