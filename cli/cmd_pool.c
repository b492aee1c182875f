/* SPDX-License-Identifier: BSD-3-Clause */
/* Verbs on the pool: init, status, grow, dump, message. */
#include "cli.h"
#include "print.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEY_WIDTH 12
#define BAR_WIDTH 20

/* --- init -------------------------------------------------------------------- */

static void print_init(const struct cli *c, struct json_object *result)
{
	char data[SIZE_TEXT_MAX], block[SIZE_TEXT_MAX], metadata[SIZE_TEXT_MAX];

	(void)c;
	print_styled(STYLE_BOLD, text_of(result, "pool"));
	if (flag_of(result, "existed")) {
		puts(": is there already");
		return;
	}
	printf(": %s of data in blocks of %s, %s of metadata\n",
	       size_of(data, result, "data_bytes"), size_of(block, result, "block_size"),
	       size_of(metadata, result, "metadata_bytes"));
}

/* Notes are for the person who types, whatever becomes of the answer. */
static int say_notes(const struct cli *c, struct json_object *result)
{
	struct json_object *notes = NULL;

	(void)c;
	if (!json_object_object_get_ex(result, "notes", &notes))
		return CLI_DONE;
	for (size_t i = 0; i < json_object_array_length(notes); i++)
		cli_say("note: %s",
			json_object_get_string(json_object_array_get_idx(notes, i)));
	return CLI_DONE;
}

/* --- status ------------------------------------------------------------------ */

/* A bar where it is a terminal: "[##........] "; free() it. */
static char *bar_of(uint64_t part, uint64_t whole)
{
	char bar[BAR_WIDTH + 1];

	if (!colourful())
		return must_have(strdup(""));
	bar_text(bar, BAR_WIDTH, part, whole);
	return made_text("[%s] ", bar);
}

/* "1 GiB of 16 GiB, 6.2%; low water 1.6 GiB" */
static void print_usage(struct json_object *status, const char *key)
{
	char used[SIZE_TEXT_MAX], total[SIZE_TEXT_MAX], low[SIZE_TEXT_MAX];
	struct json_object *usage = NULL;
	uint64_t part, whole;
	char *bar, *text;

	if (!json_object_object_get_ex(status, key, &usage))
		return;
	part = number_of(usage, "used_bytes");
	whole = number_of(usage, "total_bytes");
	bar = bar_of(part, whole);
	text = made_text("%s%s of %s, %.1f%%; low water %s", bar, size_text(used, part),
			 size_text(total, whole),
			 whole ? 100.0 * (double)part / (double)whole : 0.0,
			 size_of(low, usage, "low_water_bytes"));
	print_fact(KEY_WIDTH, key, text);
	if (number_of(usage, "reserved_bytes"))
		print_fact(KEY_WIDTH, "  reserved",
			   size_of(used, usage, "reserved_bytes"));
	if (number_of(usage, "auto_extend_bytes")) {
		char *step = made_text("by %s, by itself",
				       size_of(used, usage, "auto_extend_bytes"));
		print_fact(KEY_WIDTH, "  grows", step);
		free(step);
	}
	free(bar);
	free(text);
}

static void print_mode(const char *mode, bool needs_check)
{
	enum style style = STYLE_WARN;

	if (mode && !strcmp(mode, "rw"))
		style = STYLE_GOOD;
	else if (mode && !strcmp(mode, "fail"))
		style = STYLE_BAD;
	print_styled_fact(KEY_WIDTH, style, "mode", mode);
	if (needs_check)
		print_styled_fact(KEY_WIDTH, STYLE_BAD, "needs check",
				  "yes: thinbd check --repair");
}

/* When there is something to say: backups of the metadata are made, or should be. */
static void print_backup(struct json_object *status)
{
	struct json_object *backup = NULL;
	const char *problem;

	if (!json_object_object_get_ex(status, "metadata_backup", &backup) || !backup)
		return;
	print_fact(KEY_WIDTH, "backup", text_of(backup, "last") ?: "none yet");
	problem = text_of(backup, "problem");
	if (problem)
		print_styled_fact(KEY_WIDTH, STYLE_WARN, "no backup", problem);
}

static void print_status(const struct cli *c, struct json_object *status)
{
	char block[SIZE_TEXT_MAX], freeing[SIZE_TEXT_MAX];

	(void)c;
	if (json_object_is_type(status, json_type_string)) { /* --dm */
		puts(json_object_get_string(status));
		return;
	}
	print_fact(KEY_WIDTH, "pool", text_of(status, "pool"));
	print_fact(KEY_WIDTH, "uuid", text_of(status, "uuid"));
	print_mode(text_of(status, "mode"), flag_of(status, "needs_check"));
	print_fact(KEY_WIDTH, "served", flag_of(status, "served") ? "yes" : "no");
	print_usage(status, "data");
	print_usage(status, "metadata");
	if (number_of(status, "freeing_bytes"))
		print_fact(KEY_WIDTH, "freeing",
			   size_of(freeing, status, "freeing_bytes"));
	print_backup(status);
	print_fact(KEY_WIDTH, "block size", size_of(block, status, "block_size"));
	print_fact(KEY_WIDTH, "transaction", text_of(status, "transaction_id"));
	print_fact(KEY_WIDTH, "volumes", text_of(status, "volumes"));
	print_fact(KEY_WIDTH, "clients", text_of(status, "clients"));
}

/* --- dump and message -------------------------------------------------------- */

static void print_text(const struct cli *c, struct json_object *text)
{
	(void)c;
	if (text)
		fputs(json_object_get_string(text), stdout);
}

/*
 * With --json the metadata come as JSON unless asked otherwise; they are the
 * document then, rather than a string in one.
 */
static int dump(struct cli *c)
{
	struct json_object *text = NULL;
	bool as_json;
	int status;

	if (c->json && !json_object_object_get_ex(c->args, "format", NULL))
		json_object_object_add(c->args, "format",
				       must_have(json_object_new_string("json")));
	as_json = !strcmp(text_of(c->args, "format") ?: "thin", "json");
	status = cli_ask(c, c->json ? NULL : print_text, &text);
	if (!status && c->json && !as_json)
		cli_print_json(text);
	else if (!status && c->json)
		print_text(c, text);
	json_object_put(text);
	return status;
}

static void print_message(const struct cli *c, struct json_object *answer)
{
	const char *text = json_object_get_string(answer);

	(void)c;
	if (text && *text)
		puts(text);
}

const struct command cli_init = {
	.verb = "init", .print = print_init, .verdict = say_notes};
const struct command cli_status = {.verb = "status", .print = print_status};
const struct command cli_grow = {.verb = "grow", .print = print_status};
const struct command cli_dump = {.verb = "dump", .run = dump};
const struct command cli_message = {.verb = "message", .print = print_message};
