/* SPDX-License-Identifier: BSD-3-Clause */
#ifndef THINBD_TESTS_SERVED_H
#define THINBD_TESTS_SERVED_H

/*
 * A pool served by nbdkit, for tests that are clients: the server can be
 * started, stopped and killed, and the command line called.
 *
 * What fails ends the test, by should_not(): it says why, prints the line
 * that repeats it, and keeps the test's folder.
 *
 *   THINBD_BUILD_DIR  where the plugin and the command line are
 *   TMPDIR            where the test's folder is made (/dev/shm, or /tmp)
 *
 * What the server says goes to server.log in that folder.
 */

#include <libnbd.h>
#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct served {
	char work[PATH_MAX / 8];
	char pool[PATH_MAX / 4];
	char socket[PATH_MAX / 4];
	char said[4096]; /* what the command line printed last */
	pid_t server;	 /* 0: none */
};

extern struct served served;

/* What to type to see a failure again; printed with it. */
extern char served_replay[256];

/* Called before a failing test ends, or NULL: to say more about it. */
extern void (*served_last_words)(void);

/* Makes the test's folder.  Ends the test as skipped if nothing is built. */
void served_init(void);

/* Stops the server and removes the folder. */
void served_fini(void);

/* Removes the pool. */
void served_clear(void);

__attribute__((noreturn, format(printf, 3, 4))) void should_not(const char *file,
								int line, const char *fmt,
								...);

#define SHOULD(cond, ...)                                                                \
	do {                                                                             \
		if (!(cond))                                                             \
			should_not(__FILE__, __LINE__, __VA_ARGS__);                     \
	} while (0)

/* A call of libnbd's that has to work. */
#define NBD(call) SHOULD((call) != -1, "%s: %s", #call, nbd_get_error())

void served_start(void);
void served_stop(void); /* a clean end, status 0 */
void served_kill(void); /* as a power cut is to it */

/* A connection to @name, with base:allocation; what is wrong is up to the server. */
struct nbd_handle *served_connect(const char *name);

/* Close it in order; NULL is a no-op. */
void served_hang_up(struct nbd_handle *h);

/* `thinbd --pool POOL WORD...`, NULL at the end.  Returns its exit status. */
int served_cli(const char *verb, ...) __attribute__((sentinel));

/* The same, and it has to work. */
#define CLI(...)                                                                         \
	do {                                                                             \
		int status_ = served_cli(__VA_ARGS__, NULL);                             \
		SHOULD(!status_, "thinbd " #__VA_ARGS__ ": status %d: %s", status_,      \
		       served.said);                                                     \
	} while (0)

/* Stops the server; the pool has to be sound, to thin_check too if it is there. */
void served_audit(void);

/* Nanoseconds that only go forward. */
uint64_t served_now(void);

#endif
