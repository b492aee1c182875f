/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_NBDKIT_H
#define THINBD_TESTS_NBDKIT_H

/*
 * Real servers to talk to: nbdkit on a Unix socket in the scratch folder,
 * to be killed and started again.  Tests are skipped where it is missing.
 */

#include "scratch.h"

#include <errno.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#define NBDKIT_WORDS 24

struct nbdkit {
	pid_t pid; /* 0: not running */
	const char *words[NBDKIT_WORDS];
};

static inline int nbdkit_missing(void)
{
	return system("nbdkit --version >/dev/null 2>&1") != 0;
}

static inline void nbdkit_exec(const struct nbdkit *k)
{
	const char *argv[NBDKIT_WORDS + 8] = {
		"nbdkit", "-f", "-U", scratch("sock"), "-P", scratch("pid"),
	};

	for (size_t i = 0; k->words[i]; i++)
		argv[6 + i] = k->words[i];
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (!getenv("THINBD_NBDKIT_VERBOSE") && !freopen("/dev/null", "w", stderr))
		_exit(126);
	execvp("nbdkit", (char *const *)(uintptr_t)argv);
	_exit(127);
}

/* Wait until it listens: that is when it writes its pid. */
static inline void nbdkit_start(struct nbdkit *k)
{
	(void)unlink(scratch("sock"));
	(void)unlink(scratch("pid"));
	k->pid = fork();
	assert_true(k->pid >= 0);
	if (!k->pid)
		nbdkit_exec(k);
	for (int ms = 0; access(scratch("pid"), F_OK); ms++) {
		if (ms == 10000 || waitpid(k->pid, NULL, WNOHANG))
			fail_msg("nbdkit does not start: %s ...", k->words[0]);
		usleep(1000);
	}
}

static inline void nbdkit_kill(struct nbdkit *k)
{
	if (!k->pid)
		return;
	kill(k->pid, SIGKILL);
	(void)waitpid(k->pid, NULL, 0);
	k->pid = 0;
}

#define NBDKIT(...) ((struct nbdkit){.words = {__VA_ARGS__}})

/* The URI of the server. */
static inline const char *nbdkit_uri(void)
{
	static char uri[400];

	snprintf(uri, sizeof(uri), "nbd+unix:///?socket=%s", scratch("sock"));
	return uri;
}

/* --- the one server of a test ------------------------------------------ */

static struct nbdkit server;

static inline void serve(struct nbdkit k)
{
	if (nbdkit_missing())
		skip();
	server = k;
	nbdkit_start(&server);
}

/* A teardown. */
static inline int stop(void **state)
{
	(void)state;
	nbdkit_kill(&server);
	return 0;
}

#endif
