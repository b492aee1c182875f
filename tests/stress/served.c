/* SPDX-License-Identifier: BSD-3-Clause */
#include "served.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MAX_WORDS 16
#define START_MS  60000 /* with sanitizers, on a busy machine */

struct served served;
char served_replay[256];
void (*served_last_words)(void);

static char cli[PATH_MAX], plugin[PATH_MAX];

void should_not(const char *file, int line, const char *fmt, ...)
{
	const char *name = strrchr(file, '/');
	va_list ap;

	fprintf(stderr, "FAIL: %s:%d: ", name ? name + 1 : file, line);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fprintf(stderr, "\n");
	if (served_last_words)
		served_last_words();
	if (served.server > 0)
		(void)kill(served.server, SIGKILL);
	fprintf(stderr, "replay: %s\nkept: %s\n", served_replay, served.work);
	fflush(NULL);
	_exit(1);
}

static void skip(const char *what)
{
	printf("SKIP: %s is not there\n", what);
	exit(77);
}

/* Memory, if there is enough: flushes of what is lost with the machine anyhow. */
static const char *folder(void)
{
	const char *given = getenv("TMPDIR");
	struct statvfs st;

	if (given)
		return given;
	if (!statvfs("/dev/shm", &st) && st.f_bavail * st.f_frsize >> 30 >= 2 &&
	    !access("/dev/shm", W_OK))
		return "/dev/shm";
	return "/tmp";
}

void served_init(void)
{
	const char *build = getenv("THINBD_BUILD_DIR");

	build = build ? build : "build";
	snprintf(cli, sizeof(cli), "%s/cli/thinbd", build);
	snprintf(plugin, sizeof(plugin), "%s/plugin/nbdkit-thin-plugin.so", build);
	if (access(cli, X_OK))
		skip(cli);
	if (access(plugin, R_OK))
		skip(plugin);
	snprintf(served.work, sizeof(served.work), "%s/thinbd-test.XXXXXX", folder());
	SHOULD(mkdtemp(served.work), "%s: %m", served.work);
	snprintf(served.pool, sizeof(served.pool), "%s/pool", served.work);
	snprintf(served.socket, sizeof(served.socket), "%s/socket", served.work);
	(void)signal(SIGPIPE, SIG_IGN);
}

uint64_t served_now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void nap(void)
{
	nanosleep(&(struct timespec){.tv_nsec = 2000000}, NULL);
}

/* --- programs ------------------------------------------------------------ */

/*
 * vfork(): the tests have much memory, whose tables fork() would copy.  Output
 * goes to @out, where that is no -1; @tied: dies with us.
 */
static pid_t start(char **words, int out, bool tied)
{
	pid_t parent = getpid(), pid = vfork();

	SHOULD(pid >= 0, "fork: %m");
	if (pid)
		return pid;
	if (tied && (prctl(PR_SET_PDEATHSIG, SIGKILL) || getppid() != parent))
		_exit(126);
	if (out >= 0 && (dup2(out, 1) < 0 || dup2(out, 2) < 0))
		_exit(126);
	execvp(words[0], words);
	_exit(127);
}

static void remove_all(char *path)
{
	char *words[] = {(char *)"rm", (char *)"-rf", path, NULL};

	(void)waitpid(start(words, -1, false), NULL, 0);
}

void served_clear(void)
{
	remove_all(served.pool);
}

void served_fini(void)
{
	if (served.server)
		served_stop();
	remove_all(served.work);
}

/* Both streams of a program, the last part of them, into served.said. */
static void listen_to(int fd)
{
	size_t have = 0, room = sizeof(served.said) - 1;
	ssize_t n;

	while ((n = read(fd, served.said + have, room - have)) > 0) {
		have += (size_t)n;
		if (have == room) {
			memmove(served.said, served.said + room / 2, room - room / 2);
			have = room - room / 2;
		}
	}
	served.said[have] = '\0';
}

/* Runs it to its end; the exit status, or 128 + the signal. */
static int run(char **words)
{
	int ends[2], status;
	pid_t pid;

	SHOULD(!pipe2(ends, O_CLOEXEC), "pipe: %m");
	pid = start(words, ends[1], false);
	close(ends[1]);
	listen_to(ends[0]);
	close(ends[0]);
	SHOULD(waitpid(pid, &status, 0) == pid, "waitpid: %m");
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int served_cli(const char *verb, ...)
{
	char *words[MAX_WORDS] = {cli, (char *)"--pool", served.pool, (char *)verb};
	size_t nr = 4;
	va_list ap;

	va_start(ap, verb);
	while (nr < MAX_WORDS - 1 && (words[nr] = va_arg(ap, char *)))
		nr++;
	va_end(ap);
	words[nr] = NULL;
	return run(words);
}

void served_audit(void)
{
	char metadata[PATH_MAX];
	int status;

	if (served.server)
		served_stop();
	CLI("check");
	snprintf(metadata, sizeof(metadata), "%s/metadata", served.pool);
	status = run((char *[]){(char *)"thin_check", (char *)"-q", metadata, NULL});
	SHOULD(!status || status == 127, "thin_check: %s", served.said);
}

/* --- the server ------------------------------------------------------------ */

static void reap(int expected, const char *what)
{
	int status;

	SHOULD(waitpid(served.server, &status, 0) == served.server, "waitpid: %m");
	served.server = 0;
	SHOULD(status == expected, "%s: the server ended with status %#x", what, status);
}

void served_start(void)
{
	uint64_t deadline = served_now() + UINT64_C(1000000) * START_MS;
	char path[PATH_MAX];
	char *words[] = {(char *)"nbdkit", (char *)"-f", (char *)"-U", served.socket,
			 plugin,	   served.pool,	 NULL};
	struct stat st;
	int log;

	(void)unlink(served.socket);
	snprintf(path, sizeof(path), "%s/server.log", served.work);
	log = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
	SHOULD(log >= 0, "%s: %m", path);
	served.server = start(words, log, true);
	close(log);
	while (stat(served.socket, &st)) {
		int status;
		SHOULD(waitpid(served.server, &status, WNOHANG) == 0,
		       "the server does not start: status %#x", status);
		SHOULD(served_now() < deadline, "the server does not come up");
		nap();
	}
}

void served_stop(void)
{
	(void)kill(served.server, SIGTERM);
	reap(0, "stop");
}

void served_kill(void)
{
	(void)kill(served.server, SIGKILL);
	reap(SIGKILL, "kill");
}

struct nbd_handle *served_connect(const char *name)
{
	struct nbd_handle *h = nbd_create();
	int tries = 0;

	SHOULD(h, "%s", nbd_get_error());
	NBD(nbd_add_meta_context(h, LIBNBD_CONTEXT_BASE_ALLOCATION));
	NBD(nbd_set_export_name(h, name));
	NBD(nbd_set_strict_mode(h, 0)); /* what the server says is what counts */
	/* The socket is there a moment before it listens. */
	while (nbd_connect_unix(h, served.socket) == -1) {
		SHOULD(nbd_get_errno() == ECONNREFUSED && tries++ < 1000, "%s: %s", name,
		       nbd_get_error());
		nbd_close(h);
		nap();
		h = nbd_create();
		NBD(nbd_add_meta_context(h, LIBNBD_CONTEXT_BASE_ALLOCATION));
		NBD(nbd_set_export_name(h, name));
		NBD(nbd_set_strict_mode(h, 0));
	}
	return h;
}

void served_hang_up(struct nbd_handle *h)
{
	if (h)
		(void)nbd_shutdown(h, 0); /* a server that was killed is gone already */
	nbd_close(h);
}
