/* SPDX-License-Identifier: BSD-3-Clause */
#include "cli.h"
#include "print.h"

#include <assert.h>
#include <errno.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* --watch looks again after this long. */
#define WATCH_SECONDS 2

static const struct command *const commands[] = {
	&cli_init,  &cli_create, &cli_snapshot, &cli_delete,  &cli_rename,
	&cli_set,   &cli_resize, &cli_rollback, &cli_flatten, &cli_list,
	&cli_show,  &cli_map,	 &cli_diff,	&cli_status,  &cli_grow,
	&cli_check, &cli_dump,	 &cli_message,	&cli_serve,   &cli_restore,
};

static const struct command *find_command(const char *verb)
{
	for (size_t i = 0; i < sizeof(commands) / sizeof(commands[0]); i++)
		if (!strcmp(commands[i]->verb, verb))
			return commands[i];
	assert(!"a verb of the table that has no command");
	return NULL;
}

int cli_ask_and_print(struct cli *c, const struct command *command)
{
	struct json_object *result = NULL;
	int status = cli_ask(c, c->json ? NULL : command->item, &result);

	if (!status && c->json)
		cli_print_json(result);
	else if (!status && command->print)
		command->print(c, result);
	if (!status && command->verdict)
		status = command->verdict(c, result);
	json_object_put(result);
	return status;
}

/* --watch: again and again until Ctrl-C, each time in the last one's place. */
static int watch(struct cli *c, const struct command *command)
{
	int status;

	cli_catch_interrupt();
	do {
		if (colourful())
			fputs("\033[H\033[J", stdout);
		status = cli_ask_and_print(c, command);
		if (fflush(stdout) != 0)
			status = CLI_COULD_NOT;
		if (!status && !cli_interrupted())
			nanosleep(&(struct timespec){.tv_sec = WATCH_SECONDS}, NULL);
	} while (!status && !cli_interrupted());
	return status;
}

static int run(struct cli *c)
{
	const struct command *command;
	int status = cli_parse(c);

	if (status)
		return status;
	if (c->version) {
		printf("thinbd %s\n", thinbd_version());
		return CLI_DONE;
	}
	if (c->help) {
		if (c->verb)
			cli_print_verb_help(c->verb);
		else
			cli_print_help();
		return CLI_DONE;
	}
	status = cli_find_pool(c);
	if (status)
		return status;
	command = find_command(c->verb->name);
	if (command->run)
		return command->run(c);
	if (flag_of(c->front, "watch"))
		return watch(c, command);
	return cli_ask_and_print(c, command);
}

/* Was the answer written?  Where its reader went away, nobody needs telling. */
static int finish_output(int status)
{
	errno = 0;
	if (fflush(stdout) == 0 && !ferror(stdout))
		return status;
	if (errno != EPIPE)
		fprintf(stderr, "thinbd: standard output: %s\n",
			strerror(errno ? errno : EIO));
	return CLI_COULD_NOT;
}

int main(int argc, char **argv)
{
	struct cli c = {.argc = argc, .argv = argv};
	int status;

	setlocale(LC_CTYPE, "");
	/* A reader that goes away shows as EPIPE, with the pool still to close. */
	signal(SIGPIPE, SIG_IGN);
	status = run(&c);
	json_object_put(c.args);
	json_object_put(c.front);
	free(c.pool);
	return finish_output(status);
}
