/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_CLI_H
#define THINBD_CLI_H

/*
 * The command line: arguments into a request, the reply into text.
 *
 * What verbs and options there are comes from thinbd_verbs(), and what they
 * mean is the library's affair: nothing here decides anything about a pool.
 * A verb's file (cmd_*.c) knows how its answer looks to a person.
 */

#include "thinbd.h"

#include <json-c/json.h>
#include <stdbool.h>

/* Exit status, as the manual has it. */
enum {
	CLI_DONE = 0,
	CLI_COULD_NOT = 1,
	CLI_USAGE = 2,
};

#define CLI_DEFAULT_CONFIG "/etc/thinbd/thinbd.conf"

/* One run of the command. */
struct cli {
	int argc;
	char **argv;
	const char *pool_option; /* --pool, or NULL */
	const char *config;	 /* --config, or NULL */
	bool json;
	bool help;
	bool version;
	const struct thinbd_verb *verb;
	struct json_object *args;  /* of the request; owned */
	struct json_object *front; /* those that are not sent; owned */
	char *pool;		   /* absolute; owned; NULL until it is needed */

	/* Called once, when a long request makes its first progress; may be NULL. */
	void (*begun)(struct cli *c);
	int begun_fd; /* for that */
};

/* What is done for a verb. */
struct command {
	const char *verb;
	/* Instead of asking and printing the answer; may be NULL. */
	int (*run)(struct cli *c);
	/* The answer, to a person; may be NULL. */
	void (*print)(const struct cli *c, struct json_object *result);
	/* What the answer means for the exit status; NULL: CLI_DONE. */
	int (*verdict)(const struct cli *c, struct json_object *result);
	/* An item of a verb that streams; may be NULL. */
	void (*item)(const struct cli *c, struct json_object *item);
};

extern const struct command cli_init, cli_status, cli_grow, cli_check, cli_dump,
	cli_message;
extern const struct command cli_create, cli_snapshot, cli_delete, cli_rename, cli_set,
	cli_resize, cli_rollback, cli_show;
extern const struct command cli_list;
extern const struct command cli_flatten, cli_map, cli_diff;
extern const struct command cli_serve;
extern const struct command cli_restore;

/*
 * args.c: the arguments of a run into @c: options, verb, request.
 * Returns CLI_DONE, or CLI_USAGE after having said what is wrong.
 */
int cli_parse(struct cli *c);

/*
 * values.c: @path as another process finds it: absolute, a relative one's folder with
 * its links resolved.  Owned by the caller; never NULL.
 */
char *cli_absolute(const char *path);

/* The value of @p as the request has it; NULL after having said what is wrong. */
struct json_object *cli_value(const struct cli *c, const struct thinbd_param *p,
			      const char *text);

/* pool.c: which pool is meant, into c->pool.  CLI_DONE, or said and CLI_USAGE. */
int cli_find_pool(struct cli *c);

/* help.c: to standard output. */
void cli_print_help(void);
void cli_print_verb_help(const struct thinbd_verb *v);

/*
 * request.c: ask for what @c says.
 * @item: for each item of a verb that streams; NULL for all in the result.
 * @ret_result: owned by the caller; may be a JSON null, which is NULL.
 * Returns CLI_DONE; CLI_COULD_NOT after having said why.
 */
int cli_ask(struct cli *c, void (*item)(const struct cli *c, struct json_object *item),
	    struct json_object **ret_result);

/* main.c: ask, print the answer.  Returns an exit status. */
int cli_ask_and_print(struct cli *c, const struct command *command);

/* Let Ctrl-C end what is being waited for, rather than the process; once. */
void cli_catch_interrupt(void);
bool cli_interrupted(void);

/* Print a JSON document on standard output. */
void cli_print_json(struct json_object *o);

/*
 * Say what went wrong, on one line of standard error, and with --json as a
 * document on standard output too.  Returns @status.
 */
int cli_complain(const struct cli *c, int status, const char *code, const char *fmt, ...)
	__attribute__((format(printf, 4, 5)));

/* One line of standard error, without more. */
void cli_say(const char *fmt, ...) __attribute__((format(printf, 1, 2)));

#define cli_usage(c, ...) cli_complain(c, CLI_USAGE, "EINVAL", __VA_ARGS__)

/* progress.c: a bar on standard error, where that is a terminal. */
void cli_progress(const char *what, uint64_t done, uint64_t total);
void cli_progress_end(void);

#endif
