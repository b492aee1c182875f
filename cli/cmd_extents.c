/* SPDX-License-Identifier: BSD-3-Clause */
/* Verbs on what volumes are made of: flatten, map, diff. */
#include "cli.h"
#include "print.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

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

/*
 * In the background: a process of its own makes the request, and is left alone
 * once that makes progress.  What goes wrong before, it says as ever.
 */
static void leave_alone(struct cli *c)
{
	int null = open("/dev/null", O_RDWR);

	for (int fd = 0; null >= 0 && fd <= STDERR_FILENO; fd++)
		(void)dup2(null, fd); /* or it keeps the terminal's: no harm */
	if (null > STDERR_FILENO)
		(void)close(null);
	if (write(c->begun_fd, "b", 1) != 1)
		_exit(CLI_COULD_NOT); /* the parent died: nobody wants it */
	(void)close(c->begun_fd);
}

static int print_begun(struct cli *c)
{
	struct json_object *result = must_have(json_object_new_object());

	json_object_object_add(
		result, "name",
		must_have(json_object_new_string(text_of(c->args, "name"))));
	json_object_object_add(result, "copied_bytes", must_have(json_object_new_int(0)));
	json_object_object_add(result, "done", must_have(json_object_new_boolean(false)));
	if (c->json)
		cli_print_json(result);
	else
		print_flatten(c, result);
	json_object_put(result);
	return CLI_DONE;
}

/* Ends when the child @pid has begun, or ended: then with its status. */
static int wait_for(struct cli *c, int fd, pid_t pid)
{
	int status;
	char byte;

	if (read(fd, &byte, 1) == 1)
		return print_begun(c);
	if (waitpid(pid, &status, 0) != pid || !WIFEXITED(status))
		return cli_complain(c, CLI_COULD_NOT, "EIO", "%s: flatten died",
				    text_of(c->args, "name"));
	return WEXITSTATUS(status);
}

static int flatten_in_background(struct cli *c)
{
	int fd[2], status;
	pid_t pid;

	if (pipe2(fd, O_CLOEXEC) < 0)
		return cli_complain(c, CLI_COULD_NOT, thinbd_errname(errno), "pipe: %s",
				    strerror(errno));
	fflush(stdout);
	pid = fork();
	if (pid < 0)
		return cli_complain(c, CLI_COULD_NOT, thinbd_errname(errno), "fork: %s",
				    strerror(errno));
	if (pid == 0) {
		(void)setsid(); /* cannot fail in a child; Ctrl-C is not for it */
		(void)close(fd[0]);
		c->begun = leave_alone;
		c->begun_fd = fd[1];
		return cli_ask_and_print(c, &cli_flatten);
	}
	(void)close(fd[1]);
	status = wait_for(c, fd[0], pid);
	(void)close(fd[0]);
	return status;
}

static int flatten(struct cli *c)
{
	return flag_of(c->front, "background") ? flatten_in_background(c)
					       : cli_ask_and_print(c, &cli_flatten);
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

const struct command cli_flatten = {
	.verb = "flatten", .run = flatten, .print = print_flatten};
const struct command cli_map = {.verb = "map", .item = print_extent};
const struct command cli_diff = {.verb = "diff", .item = print_extent};
