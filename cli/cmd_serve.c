/* SPDX-License-Identifier: BSD-3-Clause */
/* serve: nbdkit in this process's place, with the plugin on this pool. */
#include "cli.h"
#include "print.h"

#include <errno.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PLUGIN_FILE "nbdkit-thin-plugin.so"

/*
 * The plugin that belongs to this program: beside it in the build tree, or
 * where the installation put it; else nbdkit looks for it by name.
 */
static char *find_plugin(void)
{
	static const char *const folders[] = {"../plugin", THINBD_PLUGIN_FROM_BIN};
	char self[PATH_MAX];
	ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);

	if (len < 0)
		return must_have(strdup("thin"));
	self[len] = '\0';
	(void)dirname(self); /* glibc's cuts it off in place */
	for (size_t i = 0; i < sizeof(folders) / sizeof(folders[0]); i++) {
		char *path = made_text("%s/%s/" PLUGIN_FILE, self, folders[i]);

		if (access(path, R_OK) == 0)
			return path;
		free(path);
	}
	return must_have(strdup("thin"));
}

static int serve(struct cli *c)
{
	struct json_object *options = NULL;
	size_t nr = 0, n = 0;
	const char **argv;
	char *plugin = find_plugin(), *pool = made_text("pool=%s", c->pool);

	if (json_object_object_get_ex(c->front, "options", &options))
		nr = json_object_array_length(options);
	argv = must_have(calloc(nr + 5, sizeof(*argv)));
	argv[n++] = "nbdkit";
	argv[n++] = "--foreground";
	argv[n++] = plugin;
	argv[n++] = pool;
	/* nbdkit sorts out which of these are options and which the plugin's. */
	for (size_t i = 0; i < nr; i++)
		argv[n++] = json_object_get_string(json_object_array_get_idx(options, i));
	signal(SIGPIPE, SIG_DFL);
	execvp(argv[0], (char *const *)argv);
	cli_complain(c, CLI_COULD_NOT, thinbd_errname(errno),
		     "nbdkit: %s; is it installed (Debian: apt-get install nbdkit)?",
		     strerror(errno));
	free(plugin);
	free(pool);
	free(argv);
	return CLI_COULD_NOT;
}

const struct command cli_serve = {.verb = "serve", .run = serve};
